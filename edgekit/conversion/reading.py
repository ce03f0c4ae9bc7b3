"""Any source to the canonical model, through the cache."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgekit import cache, progress, registry
from edgekit.conversion.reading_child import read
from edgekit.errors import SourceError, UsageError, from_dict, guard, no_file
from edgekit.model import Model, TextModel
from edgekit.sources import others
from edgekit.sources.base import Source, SourceOptions, TextSource
from edgekit.sources.files import sha256
from edgekit.spec import to_json
from edgekit.system.child import Child, ChildError

_MEMORY = 4 * 2**30  # bytes
_SECONDS = 600.0
_TOOLS = ("edgekit", "torch", "onnx", "onnxruntime", "onnxscript", "numpy")
_TEXT_TOOLS = (*_TOOLS, "transformers", "tokenizers", "gguf", "onnxruntime-genai")


def read_model(path: str, options: SourceOptions) -> Model:
    """The canonical model of a source, from the cache when it was read before."""
    source: Source = source_for(path)
    files = _files(source, path)
    key = cache.key(
        source=source.name,
        name=Path(path).name,
        files=[sha256(f) for f in files],
        options=to_json(options),
        tools=versions(),
    )

    def make(folder: Path) -> None:
        with progress.waiting(f"reading {Path(path).name}"):
            _read_apart(source.name, path, files, options, folder)

    if not files:  # the user's own code: only running it tells what it gives
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            progress.note(f"reading {Path(path).name}")
            read(source.name, path, options, Path(folder))
            return Model.load(Path(folder))
    return Model.load(cache.step(f"model-{key}", make))


def _read_apart(source: str, path: str, files: Sequence[Path], options: SourceOptions, folder: Path) -> None:
    """In a child that takes at most 4 GiB and 16 times the source's size of memory, and ten minutes and one
    for each 16 MiB of it."""
    size = sum(f.stat().st_size for f in files)
    seconds = _SECONDS + 60 * size / 2**24
    child = Child("edgekit.conversion.reading_child", str(_MEMORY + 16 * size), f"{seconds:.0f}", quiet=False)
    question = {"source": source, "path": path, "options": to_json(options), "folder": str(folder)}
    try:
        said = child.ask(question, seconds)
    except ChildError as error:
        raise SourceError(
            f"{Path(path).name} cannot be read",
            f"the process that read it ended: {error}",
            "download or copy it again; if it is whole, please report it",
        ) from error
    finally:
        child.close()
    if "errno" in said:
        raise OSError(said["errno"], said["text"])
    if said:
        raise from_dict(said)


def _files(source: Source | TextSource, path: str) -> list[Path]:
    with guard(SourceError, f"{Path(path).name} cannot be read", "download or copy it again"):
        return source.files(path)


def source_for(path: str) -> Any:
    """The Source or TextSource that reads a path. Raises UsageError when none does."""
    for name in registry.names("sources"):
        source = registry.load("sources", name)
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


def read_text_model(path: str, options: SourceOptions) -> TextModel:
    """A language model's spec and tokenizer, from the cache when it was read before."""
    source: TextSource = source_for(path)
    files = _files(source, path)
    key = cache.key(
        source=source.name,
        path=str(Path(path).resolve()),
        files=[sha256(f) for f in files],
        options=to_json(options),
        tools=versions(text=True),
    )

    def make(folder: Path) -> None:
        with progress.waiting(f"reading {Path(path).name}"):
            _read_apart(source.name, path, files, options, folder)

    return TextModel.load(cache.step(f"text-{key}", make))


def versions(text: bool = False) -> dict[str, str]:
    """Of everything that decides what a conversion gives: part of cache keys and manifests."""
    found = {"python": platform.python_version()}
    for name in _TEXT_TOOLS if text else _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
