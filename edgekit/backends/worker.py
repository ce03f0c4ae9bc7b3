"""Compile in a process of its own: native libraries clash, and a crash must not spread.

    python -m edgekit.backends.worker JOB.json

is the command that repeats a step; the job file stays in the work folder.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, NoReturn

from edgekit import cache, registry
from edgekit.backends.base import Artifact, CompileOptions, read_artifact, write_artifact
from edgekit.errors import ConversionError, CrashError, EdgekitError, from_dict
from edgekit.model import load_model
from edgekit.runtime.room import room_to_convert
from edgekit.spec import Precision, from_json, to_json
from edgekit.system.child import limit_memory
from edgekit.system.environment import prepare_conversion
from edgekit.target import Target

_ATTENDED = "--attended"  # ends when its parent does; a person who repeats a step has none


def compile_in_worker(target: Target, precision: Precision, options: CompileOptions, work: Path) -> Artifact:
    """Compile the model saved in `work`/source; the artefact is left in `work`.

    Raises what the backend raised, or ConversionError when the process died.
    """
    job = {"target": to_json(target), "precision": precision.value, "options": to_json(options)}
    path = work / "job.json"
    path.write_text(json.dumps(job, indent=1), encoding="utf-8")
    command = [
        sys.executable,
        "-P",
        "-m",  # -P: nothing is imported from the current folder
        "edgekit.backends.worker",
        str(path),
        _ATTENDED,
    ]
    # A group of its own: a terminal's Ctrl-C comes here first, and this process ends the worker.
    group = 0 if os.name == "posix" else None
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        process_group=group,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    try:
        said = process.stdout.read()
        process.wait()
    except BaseException:  # Ctrl-C above all: never leave a compiler running
        process.terminate()
        process.wait()
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if process.returncode:
        _raise(said, process.returncode, target, precision, path)
    return read_artifact(work)


def _raise(said: str, code: int, target: Target, precision: Precision, job: Path) -> NoReturn:
    for line in reversed(said.splitlines()):
        if line.startswith('{"error"'):
            raise from_dict(json.loads(line))
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise CrashError(
        f"The {target.backend} backend crashed while compiling {precision}",
        how,
        f"run it on its own: {repeat_command(job)}",
    )


def repeat_command(job: Path) -> str:
    return f"python -P -m edgekit.backends.worker {job}"


def main(job_path: str) -> int:
    prepare_conversion()
    job: dict[str, Any] = json.loads(Path(job_path).read_text(encoding="utf-8"))
    work = Path(job_path).parent
    target = from_json(Target, job["target"])
    model = load_model(work / "source")
    limit_memory(room_to_convert(model.source.bytes))
    try:
        artifact = registry.load("backends", target.backend).compile(
            model, target, Precision(job["precision"]), from_json(CompileOptions, job["options"]), work, _report
        )
        _age(artifact, work)
    except EdgekitError as error:
        return _say(error)
    except OSError as error:
        why = f"{error.strerror or error}"
        hint = "free some space, or set EDGEKIT_CACHE to another folder"
        return _say(ConversionError(f"The {target.backend} backend could not write its result", why, hint))
    write_artifact(artifact, work)
    return 0


def _age(artifact: Artifact, work: Path) -> None:
    """Whatever wrote them: ONNX files that the oldest library opens which has what they need."""
    names = [n for n in artifact.files if n.endswith(".onnx")]
    if names:
        from edgekit.graph.oldest_form import write_oldest

        for name in names:
            write_oldest(work / name)


def _say(error: EdgekitError) -> int:
    """Prints an error for the parent: on a pipe and not into a file, since the disk may be full."""
    print(json.dumps(error.to_dict()), flush=True)
    return error.exit_code


def _stop(number: int, frame: object) -> NoReturn:
    """Leave at once, and nothing behind. Not by an exception: one that is raised inside a callback
    of a native library is swallowed there."""
    cache.discard_unfinished()
    os._exit(128 + number)


def _end_with_parent() -> None:
    """The parent holds the other end of stdin, which closes however it dies, kill -9 included."""
    while os.read(0, 4096):
        pass
    cache.discard_unfinished()
    os._exit(1)


def _report(what: str, done: int, total: int) -> None:
    """One line for each step; the parent's terminal shows it as a bar (stderr)."""
    from edgekit.progress import report

    report(what, done, total)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    if _ATTENDED in sys.argv:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(sys.argv[1]))
