"""edgekit's in-memory forms of a source: a float ONNX graph with its spec, or a checkpoint, of which a backend's own
builder reads weights and configuration."""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgekit import __version__
from edgekit.errors import ConversionError
from edgekit.spec import ModelSpec, Precision, from_json, read_spec, spec_as, to_json
from edgekit.spec.lookup import S

if TYPE_CHECKING:
    import onnx

OPSET = 17  # at least; the first with LayerNormalization, and every later backend reads it
_FILE = "model.json"
_TOOLS = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy")


@dataclass(frozen=True)
class SourceInfo:
    """What a model was made from. Counts are of the checkpoint; flops are for one image."""

    kind: str
    name: str
    sha256: str
    bytes: int
    licence: str = ""
    layout: str = ""
    parameters: int | None = None
    flops: int | None = None
    parity: tuple[tuple[str, float], ...] = ()  # output, max |source - graph| on probe images
    notes: tuple[str, ...] = ()


@dataclass
class GraphModel:
    """`graph` is opset ≥ 17 float32 with fixed shapes; `spec` is None until its task has recognised it.

    `names`: what the source calls the graph's nodes, for errors and reports.
    """

    form: ClassVar[str] = "graph"
    tools: ClassVar[tuple[str, ...]] = _TOOLS  # libraries that decide what a conversion gives

    name: str
    graph: onnx.ModelProto
    spec: ModelSpec | None
    source: SourceInfo
    metadata: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def spec_as(self, kind: type[S]) -> S:
        """The spec, of a task that the caller knows. Raises UsageError when the model is for another."""
        return spec_as(self.spec, kind, self.name)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the graph: what a compiled artefact depends on besides the spec."""
        return hashlib.sha256(self.graph.SerializeToString(deterministic=True)).hexdigest()

    def save(self, folder: Path) -> None:
        """Write the model to an existing folder, for a worker or the cache."""
        import onnx

        onnx.save(self.graph, str(folder / "model.onnx"))
        data = {"spec": to_json(self.spec), "source": to_json(self.source), "names": self.names}
        _write(folder, self.form, {"name": self.name, **data})

    @classmethod
    def load(cls, folder: Path, data: dict[str, Any]) -> GraphModel:
        """`data`: what stands in the folder's model.json."""
        import onnx

        spec = None if data["spec"] is None else read_spec(data["spec"])
        graph = onnx.load(str(folder / "model.onnx"))
        return cls(data["name"], graph, spec, from_json(SourceInfo, data["source"]), names=data["names"])


@dataclass
class CheckpointModel:
    """`path` has the weights, which its source's `network` loads, and `folder` what else a Hugging Face folder holds:
    config.json, tokenizer files, generation_config.json.
    """

    form: ClassVar[str] = "checkpoint"
    tools: ClassVar[tuple[str, ...]] = (*_TOOLS, "transformers", "tokenizers", "gguf", "onnxruntime-genai")

    name: str
    path: str  # of the weights, absolute: a folder or a file
    folder: Path
    spec: ModelSpec
    source: SourceInfo
    native: Precision | None = None  # what its weights are already quantised to

    def spec_as(self, kind: type[S]) -> S:
        """The spec, of a task that the caller knows. Raises UsageError when the model is for another."""
        return spec_as(self.spec, kind, self.name)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what is known of the source, its files' own hash among it."""
        text = json.dumps({"source": to_json(self.source), "native": self.native}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write all but the weights to an existing folder, for a worker or the cache."""
        data = {"spec": to_json(self.spec), "source": to_json(self.source), "native": self.native, "path": self.path}
        _write(folder, self.form, {"name": self.name, **data})
        if self.folder != folder / "files":
            shutil.copytree(self.folder, folder / "files")

    @classmethod
    def load(cls, folder: Path, data: dict[str, Any]) -> CheckpointModel:
        """`data`: what stands in the folder's model.json."""
        source, native = from_json(SourceInfo, data["source"]), data["native"] and Precision(data["native"])
        return cls(data["name"], data["path"], folder / "files", read_spec(data["spec"]), source, native)


AnyModel = GraphModel | CheckpointModel
FORMS: dict[str, type[AnyModel]] = {kind.form: kind for kind in (GraphModel, CheckpointModel)}


def load_model(folder: Path) -> AnyModel:
    """What either form's `save` wrote."""
    data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return FORMS[data["form"]].load(folder, data)


def as_graph(model: AnyModel, backend: str) -> GraphModel:
    """Raises ConversionError for a model without a graph, which `backend` compiles."""
    if isinstance(model, GraphModel):
        return model
    raise ConversionError(f"{model.name} is no graph, and {backend} compiles graphs", "", "choose another target")


def as_checkpoint(model: AnyModel, backend: str) -> CheckpointModel:
    """Raises ConversionError for a model without a checkpoint, of which `backend` builds its graph."""
    if isinstance(model, CheckpointModel):
        return model
    raise ConversionError(f"{model.name} is no checkpoint, and {backend} builds from one", "", "choose another target")


def versions(tools: Iterable[str]) -> dict[str, str]:
    """Of edgekit, Python and the libraries that decide what a conversion gives: part of cache keys and manifests."""
    known = {"edgekit": __version__, "python": platform.python_version()}
    for name in tools:
        with contextlib.suppress(PackageNotFoundError):
            known[name] = version(name)
    return known


def _write(folder: Path, form: str, data: dict[str, Any]) -> None:
    text = json.dumps({"form": form, **data}, indent=1, sort_keys=True)
    (folder / _FILE).write_text(text, encoding="utf-8")
