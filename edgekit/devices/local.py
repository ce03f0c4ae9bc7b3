"""Device `local`: this machine. Each launch is a fresh Python process."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgekit.devices.base import DeviceInfo, Launch, Plan
from edgekit.devices.sensors import busy_share, cpu_model, frequency_policy, memory_bytes, readings
from edgekit.errors import DeviceError, UsageError, from_dict
from edgekit.runtime.cores import allowed_cores
from edgekit.system.tether import tied

_BUSY = 0.10  # share of the allowed cores that others may use before a launch is suspect


class LocalDevice:
    name = "local"

    def __init__(self, address: str = "") -> None:
        if address:
            raise UsageError(f"There is only one local device, not local:{address}", "", "use -d local")

    def info(self) -> DeviceInfo:
        return DeviceInfo(
            name="local",
            chip=cpu_model(),
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            cores=len(allowed_cores()),
            memory_bytes=memory_bytes(),
            facts={"python": platform.python_version(), "frequency_policy": frequency_policy() or "not readable"},
        )

    def run(self, package: Path, plan: Plan) -> Launch:
        data, host = fresh_process("edgekit.devices.launch", package, plan)
        return Launch(host=host, **data)

    def finished(self) -> None:
        pass


def fresh_process(module: str, package: Path, plan: Plan) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a module of edgekit prints of a package as JSON, and the machine's load around it.

    Raises DeviceError when the process dies, else what it raised.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        module,
        str(package),
        "--iterations",
        str(plan.iterations),
        "--warmup",
        str(plan.warmup),
        "--seconds",
        str(plan.seconds),
    ]
    if plan.threads:
        command += ["--threads", str(plan.threads)]
    # A thread pool of numpy's own would compete with the engine's.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    others = busy_share(0.2)  # while nothing of ours runs, all use is somebody else's
    before = readings()
    process = subprocess.run(
        tied(command), capture_output=True, env=environment, text=True, encoding="utf-8", errors="replace"
    )
    host: dict[str, Any] = {"busy_before": others, "before": before, "after": readings()}
    try:
        data: dict[str, Any] = json.loads(process.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        tail = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        raise DeviceError(
            f"A launch of {package.name} on this machine failed",
            tail[0][:300],
            f"run it on its own: python -P -m {module} {package}",
        ) from None
    if "error" in data:
        raise from_dict(data)
    if others > _BUSY:
        host["warning"] = f"other work used {others:.0%} of the cores just before this launch"
    return data, host
