"""Backend: nothing. Copies the float graph under any precision; exercises the whole path without a compiler."""

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
    options = ("float_layers",)

    def available(self) -> Availability:
        return Availability()

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        return target.precisions

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
        engine = EngineRequirement("onnxruntime", ">=1.17", "model.onnx")
        spared = {} if precision.is_float else {"float_layers": options.whole("float_layers") or 0}
        return Artifact(("model.onnx",), engine, settings=spared)
