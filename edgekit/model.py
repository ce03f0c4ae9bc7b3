"""edgekit's in-memory forms of a source: a detector is a float ONNX graph with its spec, a language
model a checkpoint with its spec and tokenizer."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.spec import DetectionSpec, Precision, TextSpec, from_json, to_json

if TYPE_CHECKING:
    import onnx

OPSET = 17  # at least; the first with LayerNormalization, and every later backend reads it


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
class Model:
    """`graph` is opset ≥ 17 float32 with fixed shapes; `spec` is None until it is recognised.

    `names`: what the source calls the graph's nodes, for errors and reports.
    """

    name: str
    graph: onnx.ModelProto
    spec: DetectionSpec | None
    source: SourceInfo
    metadata: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `model.onnx` and `model.json` to an existing folder, for a worker or the cache."""
        import onnx

        onnx.save(self.graph, str(folder / "model.onnx"))
        data = {"name": self.name, "spec": to_json(self.spec), "source": to_json(self.source), "names": self.names}
        (folder / "model.json").write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Model:
        import onnx

        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        spec = None if data["spec"] is None else from_json(DetectionSpec, data["spec"])
        graph = onnx.load(str(folder / "model.onnx"))
        source = from_json(SourceInfo, data["source"])
        return cls(data["name"], graph, spec, source, names=data["names"])


@dataclass
class TextModel:
    """A language model: `path` has the weights, which its source's `network` loads, and `folder` what
    else a Hugging Face folder holds: config.json, tokenizer files, generation_config.json.
    """

    name: str
    path: str  # of the weights, absolute: a folder or a file
    folder: Path
    spec: TextSpec
    source: SourceInfo
    native: Precision | None = None  # what its weights are already quantised to

    def save(self, folder: Path) -> None:
        """Write `model.json` and `files/` to an existing folder, for a worker or the cache."""
        data = {
            "name": self.name,
            "path": self.path,
            "spec": to_json(self.spec),
            "source": to_json(self.source),
            "native": self.native,
        }
        (folder / "model.json").write_text(json.dumps(data, indent=1, sort_keys=True), encoding="utf-8")
        if self.folder != folder / "files":
            shutil.copytree(self.folder, folder / "files")

    @classmethod
    def load(cls, folder: Path) -> TextModel:
        data = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return cls(
            data["name"],
            data["path"],
            folder / "files",
            from_json(TextSpec, data["spec"]),
            from_json(SourceInfo, data["source"]),
            data["native"] and Precision(data["native"]),
        )


AnyModel = Model | TextModel


def load_model(folder: Path) -> AnyModel:
    """What either kind's `save` wrote."""
    kind = Model if (folder / "model.onnx").exists() else TextModel
    return kind.load(folder)
