"""Any source to the canonical model, through the cache."""

from __future__ import annotations

import platform
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgekit import cache, progress, registry
from edgekit.errors import UsageError
from edgekit.graph.canonical import canonicalise
from edgekit.model import Model
from edgekit.sources.base import Source, SourceOptions
from edgekit.sources.files import sha256
from edgekit.spec import to_json

_TOOLS = ("edgekit", "torch", "onnx", "onnxruntime", "onnxscript", "numpy")


def read_model(path: str, options: SourceOptions) -> Model:
    """The canonical model of a source, from the cache when it was read before."""
    source = _source_for(path)
    files = source.files(path)
    key = cache.key(
        source=source.name, name=Path(path).name, files=[sha256(f) for f in files],
        options=to_json(options), tools=versions(),
    )  # fmt: skip

    def make(folder: Path) -> None:
        progress.note(f"reading {Path(path).name}")
        canonicalise(source.read(path, options), options).save(folder)

    if not files:  # the user's own code: only running it tells what it gives
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            make(Path(folder))
            return Model.load(Path(folder))
    return Model.load(cache.step(f"model-{key}", make))


def _source_for(path: str) -> Source:
    for name in registry.names("sources"):
        source: Source = registry.load("sources", name)
        if source.matches(path):
            return source
    raise UsageError(
        f"edgekit does not know what {Path(path).name} is",
        "sources are told by their ending",
        "pass a .pt, .pth, .ckpt, .safetensors, .onnx or .pt2 file, or module.py:function",
    )


def versions() -> dict[str, str]:
    """Of everything that decides what a conversion gives: part of cache keys and manifests."""
    found = {"python": platform.python_version()}
    for name in _TOOLS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
