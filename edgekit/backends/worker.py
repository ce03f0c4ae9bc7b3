"""Compile in a process of its own: native libraries clash, and a crash must not spread.

    python -m edgekit.backends.worker JOB.json

is the command that repeats a step; the job file stays in the work folder.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.backends.base import Artifact, CompileOptions
from edgekit.errors import ConversionError, EdgekitError, from_dict
from edgekit.model import Model
from edgekit.spec import Precision, from_json, to_json
from edgekit.target import Target


def compile_in_worker(
    target: Target, precision: Precision, options: CompileOptions, work: Path
) -> Artifact:
    """Compile the model saved in `work`/source; the artefact is left in `work`.

    Raises what the backend raised, or ConversionError when the process died.
    """
    job = {
        "target": to_json(target), "precision": precision.value,
        "options": to_json(options),
    }  # fmt: skip
    path = work / "job.json"
    path.write_text(json.dumps(job, indent=1))
    command = [sys.executable, "-m", "edgekit.backends.worker", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        code = process.wait()
    except BaseException:  # Ctrl-C above all: never leave a compiler running
        process.terminate()
        process.wait()
        raise
    failure = work / "error.json"
    if failure.exists():
        raise from_dict(json.loads(failure.read_text()))
    if code != 0:
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        raise ConversionError(
            f"The {target.backend} backend stopped while compiling {precision}", how,
            f"run it on its own: {repeat_command(path)}",
        )  # fmt: skip
    return from_json(Artifact, json.loads((work / "artifact.json").read_text()))


def repeat_command(job: Path) -> str:
    return shlex.join(["python", "-m", "edgekit.backends.worker", str(job)])


def main(job_path: str) -> int:
    job: dict[str, Any] = json.loads(Path(job_path).read_text())
    work = Path(job_path).parent
    target = from_json(Target, job["target"])
    try:
        artifact = registry.load("backends", target.backend).compile(
            Model.load(work / "source"), target, Precision(job["precision"]),
            from_json(CompileOptions, job["options"]), work, _report,
        )  # fmt: skip
    except EdgekitError as error:
        (work / "error.json").write_text(json.dumps(error.to_dict()))
        return error.exit_code
    (work / "artifact.json").write_text(json.dumps(to_json(artifact), sort_keys=True))
    return 0


def _report(what: str, done: int, total: int) -> None:
    """One line for each step; the parent's terminal shows it as a bar (stderr)."""
    from edgekit.progress import report

    report(what, done, total)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    sys.exit(main(sys.argv[1]))
