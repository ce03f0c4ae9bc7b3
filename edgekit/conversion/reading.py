"""Any source to the canonical model of its task, through the cache."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekit import cache, progress, registry
from edgekit.conversion.reading_child import read
from edgekit.errors import SourceError, UsageError, from_dict, guard, no_file
from edgekit.model import FORMS, AnyModel, CheckpointModel, load_model, versions
from edgekit.sources import others
from edgekit.sources.base import Source, SourceOptions
from edgekit.sources.files import sha256
from edgekit.spec import to_json
from edgekit.system.child import Child, ChildError

_MEMORY = 4 * 2**30  # bytes
_SECONDS = 600.0


def read_model(path: str, options: SourceOptions, task: str = "") -> AnyModel:
    """The canonical model of a source, from the cache when it was read before. `task`: its own by default."""
    source = source_for(path)
    task = task or source.task
    with guard(SourceError, f"{Path(path).name} cannot be read", "download or copy it again"):
        files = source.files(path)
    name, form = Path(path).name, FORMS[source.form]
    # A checkpoint's weights stay where they are; a link to them may be gone tomorrow, and gives the model its name.
    where = [str(Path(path).resolve()), os.path.abspath(path)] if form is CheckpointModel else name
    key = cache.key(
        source=source.name,
        task=task,
        name=where,
        files=[sha256(f) for f in files],
        options=to_json(options),
        tools=versions(form.tools),
    )

    def make(folder: Path) -> None:
        with progress.waiting(f"reading {name}"):
            _read_apart(source.name, path, files, options, folder, task)

    if not files:  # the user's own code: only running it tells what it gives
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            progress.note(f"reading {name}")
            read(source.name, path, options, Path(folder), task)
            return load_model(Path(folder))
    return load_model(cache.step(f"model-{key}", make))


def _read_apart(source: str, path: str, files: Sequence[Path], options: SourceOptions, folder: Path, task: str) -> None:
    """In a child that takes at most 4 GiB and 16 times the source's size of memory, and ten minutes and one
    for each 16 MiB of it."""
    size = sum(f.stat().st_size for f in files)
    seconds = _SECONDS + 60 * size / 2**24
    child = Child("edgekit.conversion.reading_child", str(_MEMORY + 16 * size), f"{seconds:.0f}", quiet=False)
    question = {"source": source, "path": path, "options": to_json(options), "folder": str(folder), "task": task}
    try:
        answer = child.ask(question, seconds)
    except ChildError as error:
        raise SourceError(
            f"{Path(path).name} cannot be read",
            f"the process that read it ended: {error}",
            "download or copy it again; if it is whole, please report it",
        ) from error
    finally:
        child.close()
    if "errno" in answer:
        raise OSError(answer["errno"], answer["text"])
    if answer:
        raise from_dict(answer)


def source_for(path: str) -> Source:
    """The source that reads a path. Raises UsageError when none does."""
    for name in registry.names("sources"):
        source: Source = registry.load("sources", name)
        if source.matches(path):
            return source
    known = others.named(path)
    if known is not None:
        raise known
    if not Path(path).exists():
        raise no_file("file or folder", path)
    raise UsageError(
        f"edgekit does not know what {Path(path).name} is",
        "sources are told by their ending, and language models by their config.json",
        "pass a .pt, .pth, .ckpt, .safetensors, .onnx, .pt2 or .gguf file, a folder of Hugging Face, or "
        "module.py:function",
    )
