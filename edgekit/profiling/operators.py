"""What the operators of packages cost on this machine, each package in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgekit import progress
from edgekit.devices.base import Plan
from edgekit.devices.local import LocalTransport, watched
from edgekit.devices.process import OPERATORS, plan_words, run_module
from edgekit.package import Package
from edgekit.system.documents import JsonObject


def operators(paths: Sequence[str | Path], plan: Plan) -> list[JsonObject]:
    """See `edgekit.runtime.operators.profile`; besides, `warnings`. Raises DeviceError, UsageError,
    MissingError and IntegrityError."""
    packages = [Package(path) for path in paths]
    for package in packages:
        package.verify()
    return [_one(p, plan) for p in progress.track(packages, "looking at operators", len(packages))]


def _one(package: Package, plan: Plan) -> JsonObject:
    with watched() as watch:
        data = run_module(LocalTransport(), OPERATORS, [str(package.path), *plan_words(plan)])
    return {**data, "warnings": [watch.notes.warning] if watch.notes.warning else []}
