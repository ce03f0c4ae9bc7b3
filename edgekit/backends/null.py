"""Backend: nothing. Copies the float graph; exercises the whole path without a compiler."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.model import AnyModel, as_graph
from edgekit.package import EngineRequirement
from edgekit.progress import Progress
from edgekit.spec import Precision
from edgekit.target import Target


class NullBackend:
    name = "null"
    form = "graph"
    options: tuple[str, ...] = ()

    def available(self) -> Availability:
        return Availability()

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        return tuple(p for p in target.precisions if p is Precision.FP32)

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        graph = as_graph(model, self.name).graph
        (work / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
        return Artifact(("model.onnx",), EngineRequirement("onnxruntime", ">=1.17", "model.onnx"))
