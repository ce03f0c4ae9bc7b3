"""Fresh processes of edgekit on a machine, over any transport: what they print as JSON is read back here."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices.base import Finished, Plan, Transport
from edgekit.devices.outputs import read_arrays, write_arrays
from edgekit.devices.record import Launch, launch_from_json
from edgekit.errors import DeviceError, from_dict, guard
from edgekit.system.documents import JsonObject, parse_json

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array

LAUNCH = "edgekit.devices.launch"
OPERATORS = "edgekit.runtime.operators"
OUTPUTS = "edgekit.devices.outputs"

# A thread pool of numpy's own would compete with the engine's.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_launch(transport: Transport, package: str, plan: Plan, timeout_s: float | None = None) -> Launch:
    """One launch of the package that lies at the path `package` on the transport's machine.

    Raises DeviceError when the process dies or prints something else, else what the launch raised.
    """
    return read_launch(run_module(transport, LAUNCH, [package, *plan_words(plan)], timeout_s), transport.place)


def read_launch(data: JsonObject, place: str) -> Launch:
    """What a launch at `place` printed. Raises DeviceError, which names the edgekit there where it says."""
    other = data.get("edgekit")
    version = f", by edgekit {other:.40}" if isinstance(other, str) else ""
    with guard(DeviceError, f"A launch on {place} printed what cannot be read{version}", "use the same edgekit there"):
        launch = launch_from_json(data)
        if not launch.samples_s.get("run"):
            raise ValueError("it has no samples of runs")
        return launch


def run_outputs(
    transport: Transport,
    package: str,
    inputs: Sequence[Mapping[str, Array]],
    folder: str,
    timeout_s: float | None = None,
) -> list[dict[str, Array]]:
    """What a package there gives for `inputs`, or for one input of noise. `folder`: a place there for the arrays.

    Raises as `run_launch`, and IntegrityError for arrays that cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-") as here:
        local, given, taken = Path(here), f"{folder}/inputs.npz", f"{folder}/outputs.npz"
        if inputs:
            write_arrays(local / "inputs.npz", inputs)
            transport.put(local / "inputs.npz", given)
        run_module(transport, OUTPUTS, [package, taken, *([given] if inputs else [])], timeout_s)
        transport.get(taken, local / "outputs.npz")
        return read_arrays(local / "outputs.npz")


def plan_words(plan: Plan) -> list[str]:
    """A plan as the modules that measure take it."""
    limits = ["--iterations", str(plan.iterations), "--warmup", str(plan.warmup), "--seconds", str(plan.seconds)]
    more = {"--threads": plan.threads, "--sustained": plan.sustained_s, "--images": plan.images}
    return [
        *limits,
        *(word for flag, value in more.items() if value for word in (flag, str(value))),
        *(["--streams", str(plan.streams)] if plan.streams > 1 else []),
    ]


def run_module(transport: Transport, module: str, words: Sequence[str], timeout_s: float | None = None) -> JsonObject:
    """What a module of edgekit prints as JSON, in a fresh process. `words`: its arguments, a package first where it
    takes one. Raises as `run_launch`."""
    done = transport.run([transport.python, "-P", "-m", module, *words], _ENVIRONMENT, timeout_s)
    data = _last_line(done)
    if data is None:
        tail = done.errors.strip().splitlines()[-1:] or [f"exit code {done.code}"]
        name = words[0].replace("\\", "/").rstrip("/").rpartition("/")[2] if words else module
        raise DeviceError(
            f"A launch of {name} on {transport.place} failed",
            tail[0][:300],
            f"run it on its own: python -P -m {module} {words[0] if words else ''}".rstrip(),
        )
    if "error" in data:
        raise from_dict(data)
    return data


def _last_line(done: Finished) -> JsonObject | None:
    """The object in the last line of what was printed; None when there is none."""
    try:
        data = parse_json(done.output.splitlines()[-1])
    except (ValueError, IndexError):
        return None
    return data if isinstance(data, dict) else None
