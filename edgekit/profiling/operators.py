"""What the operators of packages cost on a device, each package in a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from edgekit import progress
from edgekit.devices.base import Device, Plan
from edgekit.errors import UsageError
from edgekit.package import Package
from edgekit.system.documents import JsonObject


@runtime_checkable
class LooksInside(Protocol):
    """A device that can time single operators."""

    def operators(self, package: Path, plan: Plan) -> JsonObject:
        """See `edgekit.runtime.operators.profile`; besides, `warnings`."""
        ...


def operators(paths: Sequence[str | Path], plan: Plan, device: Device) -> list[JsonObject]:
    """Of each package. Raises DeviceError, UsageError, MissingError and IntegrityError."""
    packages = [Package(path) for path in paths]
    for package in packages:
        package.verify()
    if not isinstance(device, LooksInside):
        raise UsageError(
            f"--ops cannot look at operators on {device.name}", "", "leave -d out, or name a machine over SSH"
        )
    return [device.operators(p.folder, plan) for p in progress.track(packages, "looking at operators", len(packages))]
