"""Reads one source in a process of its own: a stranger's file may crash a native library, or ask for more
memory than there is.

    python -P -m edgekit.conversion.reading_child MEMORY SECONDS

answers one question (see `child.py`): which source reads which path with which options into which folder.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.errors import EdgekitError, SourceError, guard
from edgekit.sources.base import SourceOptions
from edgekit.spec import from_json
from edgekit.system.child import answer


def read(source: str, path: str, options: SourceOptions, folder: Path, task: str) -> None:
    """Write the canonical model of a source to an existing folder. Raises SourceError, UsageError."""
    with guard(SourceError, f"{Path(path).name} cannot be read", "download or copy it again"):
        model = registry.load("sources", source).read(path, options, folder / "files")
        registry.load("tasks", task).canonical(model, options).save(folder)


def _handle(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    options = from_json(SourceOptions, question["options"])
    options.image.update({k: tuple(v) for k, v in options.image.items() if isinstance(v, list)})
    try:
        read(question["source"], question["path"], options, Path(question["folder"]), question["task"])
    except EdgekitError as error:
        yield error.to_dict()
    except OSError as error:  # of where the result goes
        yield {"errno": error.errno, "text": error.strerror or str(error)}
    else:
        yield {}


def _quiet() -> None:
    """Native libraries print what a file says as it stands there; Python's write to the stream that stays,
    and say less."""
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    warnings.simplefilter("ignore")
    sys.stderr = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)


if __name__ == "__main__":
    _quiet()
    answer(_handle, int(sys.argv[1]), float(sys.argv[2]) + 30)  # the parent waits less
