"""Fresh processes of edgekit on a machine, over any transport: what they print as JSON is read back here."""

from __future__ import annotations

import json

from edgekit.devices.base import Finished, Plan, Transport
from edgekit.devices.record import Launch, launch_from_json
from edgekit.errors import DeviceError, from_dict, guard
from edgekit.system.documents import JsonObject

LAUNCH = "edgekit.devices.launch"
OPERATORS = "edgekit.runtime.operators"

# A thread pool of numpy's own would compete with the engine's.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_launch(transport: Transport, package: str, plan: Plan, timeout_s: float | None = None) -> Launch:
    """One launch of the package that lies at the path `package` on the transport's machine.

    Raises DeviceError when the process dies or prints something else, else what the launch raised.
    """
    data = run_module(transport, LAUNCH, package, plan, timeout_s)
    with guard(DeviceError, f"A launch on {transport.place} printed what cannot be read", "use the same edgekit there"):
        return launch_from_json(data)


def run_module(
    transport: Transport, module: str, package: str, plan: Plan, timeout_s: float | None = None
) -> JsonObject:
    """What a module of edgekit prints of a package as JSON, in a fresh process. Raises as `run_launch`."""
    limits = ["--iterations", str(plan.iterations), "--warmup", str(plan.warmup), "--seconds", str(plan.seconds)]
    threads = ["--threads", str(plan.threads)] if plan.threads else []
    command = [transport.python, "-P", "-m", module, package, *limits, *threads]
    done = transport.run(command, _ENVIRONMENT, timeout_s)
    data = _last_line(done)
    if data is None:
        tail = done.errors.strip().splitlines()[-1:] or [f"exit code {done.code}"]
        name = package.replace("\\", "/").rstrip("/").rpartition("/")[2]
        raise DeviceError(
            f"A launch of {name} on {transport.place} failed",
            tail[0][:300],
            f"run it on its own: python -P -m {module} {package}",
        )
    if "error" in data:
        raise from_dict(data)
    return data


def _last_line(done: Finished) -> JsonObject | None:
    """The object in the last line of what was printed; None when there is none."""
    try:
        data = json.loads(done.output.splitlines()[-1])
    except (ValueError, IndexError, RecursionError):
        return None
    return data if isinstance(data, dict) else None
