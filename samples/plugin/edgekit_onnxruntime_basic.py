"""A backend for edgekit: the float graph, as ONNX Runtime's basic optimisations leave it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import onnxruntime as ort

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.model import Model
from edgekit.package import EngineRequirement
from edgekit.progress import Progress
from edgekit.spec import Precision
from edgekit.target import Target


class Backend:
    name = "onnxruntime-basic"

    def available(self) -> Availability:
        return Availability(versions={"onnxruntime": version("onnxruntime")})

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
        settings = ort.SessionOptions()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(work / "model.onnx")
        ort.InferenceSession(model.graph.SerializeToString(), settings, ["CPUExecutionProvider"])
        return Artifact(
            ("model.onnx",),
            EngineRequirement("onnxruntime", ">=1.20,<2", "model.onnx"),
            notes=("optimised at level basic",),
        )
