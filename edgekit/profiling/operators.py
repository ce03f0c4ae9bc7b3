"""What the operators of packages cost on this machine, each package in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit import progress
from edgekit.devices.base import Plan
from edgekit.devices.sensors import busy_share
from edgekit.errors import DeviceError, from_dict
from edgekit.package import Package

_BUSY = 0.10  # share of the cores that others may use before figures are suspect


def operators(paths: Sequence[str | Path], plan: Plan) -> list[dict[str, Any]]:
    """See `edgekit.runtime.operators.profile`; besides, `warnings`. Raises DeviceError, UsageError,
    MissingError and IntegrityError."""
    packages = [Package(path) for path in paths]
    for package in packages:
        package.verify()
    return [_one(p, plan) for p in progress.track(packages, "looking at operators", len(packages))]


def _one(package: Package, plan: Plan) -> dict[str, Any]:
    command = [
        sys.executable, "-P", "-m", "edgekit.runtime.operators", str(package.folder),
        "--runs", str(plan.iterations), "--warmup", str(plan.warmup), "--seconds", str(plan.seconds),
    ]  # fmt: skip
    if plan.threads:
        command += ["--threads", str(plan.threads)]
    others = busy_share(0.2)  # while nothing of ours runs, all use is somebody else's
    # a thread pool of numpy's own would compete with the engine's
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    try:
        data: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        tail = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise DeviceError(
            f"Looking at the operators of {package.path.name} failed", tail[0][:300],
            f"run it on its own: python -P -m edgekit.runtime.operators {package.path}",
        ) from None  # fmt: skip
    if "error" in data:
        raise from_dict(data)
    busy = f"other work used {others:.0%} of the cores just before" if others > _BUSY else ""
    data["warnings"] = [busy] if busy else []
    return data
