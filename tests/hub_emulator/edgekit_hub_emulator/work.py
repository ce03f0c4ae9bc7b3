"""One job, in edgekit's own environment: reads a folder's `job.json`, writes `result.json` there.

    python -P -m edgekit_hub_emulator.work FOLDER

is the command that repeats a job. What is printed becomes the job's log.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from edgekit.errors import EdgekitError
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.options import OptionError
from edgekit_hub_emulator.store import write_json
from edgekit_hub_emulator.toolchain import log, versions

_RUNS = {"compile": "compiling", "quantize": "quantising", "link": "linking", "inference": "running"}


def main(folder: Path) -> int:
    job: dict[str, Any] = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    log(f"{job['kind']} job, options: {job['options'] or 'none'}")
    try:
        module = importlib.import_module(f"edgekit_hub_emulator.{_RUNS[job['kind']]}")
        result: dict[str, Any] = module.run(job, folder)
        result["detail"] = {"versions": versions(), **result.get("detail", {})}
    except (JobError, OptionError, EdgekitError) as error:
        result = _failed(error)
        log(f"failed: {result['reason']}")
    except Exception as error:  # a library's own; the job fails and says so, as any other
        traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0][:500]
        result = {"reason": what, "failure": "INTERNAL_UNKNOWN", "details": traceback.format_exc()}
    write_json(folder / "result.json", result)
    return 0


def _failed(error: Exception) -> dict[str, Any]:
    if isinstance(error, JobError):
        return {"reason": error.reason, "failure": error.kind, "details": error.details}
    if isinstance(error, EdgekitError):
        reason = ". ".join(p.strip(" .") for p in (error.what, error.why) if p) + "."
        return {"reason": reason, "failure": "MODEL_UNKNOWN", "details": str(error)}
    return {"reason": str(error), "failure": "INVALID_ARGUMENT", "details": ""}


def _end_with_parent() -> None:
    """The emulator holds the other end of stdin; that closes however it dies."""
    os.read(0, 1)  # not sys.stdin: Python waits for its lock when it ends
    os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "--versions":
        print(json.dumps(versions()))
        sys.exit(0)
    if "--watched" in sys.argv:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.exit(main(Path(sys.argv[1])))
