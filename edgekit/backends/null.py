"""Backend: nothing. Copies the float graph; exercises the whole path without a compiler."""

from __future__ import annotations

from pathlib import Path

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.model import Model
from edgekit.package import EngineRequirement
from edgekit.progress import Progress
from edgekit.spec import Precision
from edgekit.target import Target


class NullBackend:
    name = "null"

    def available(self) -> Availability:
        return Availability()

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        return tuple(p for p in target.precisions if p is Precision.FP32)

    def compile(
        self,
        model: Model,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        (work / "model.onnx").write_bytes(model.graph.SerializeToString(deterministic=True))
        return Artifact(("model.onnx",), EngineRequirement("onnxruntime", ">=1.17", "model.onnx"))
