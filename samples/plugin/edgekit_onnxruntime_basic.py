"""A backend for edgekit with its engine: the float graph as ONNX Runtime's basic optimisations leave it, run as it is."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.model import AnyModel, as_graph
from edgekit.package import EngineRequirement, Package
from edgekit.progress import Progress
from edgekit.runtime.engine import Engine, EngineOptions, Session, graph_spec
from edgekit.runtime.engines.onnxruntime import OnnxRuntimeSession, sizes
from edgekit.spec import Precision
from edgekit.target import Target


class Backend:
    name = "onnxruntime-basic"
    form = "graph"
    options: tuple[str, ...] = ()

    def available(self) -> Availability:
        return Availability(versions={"onnxruntime": version("onnxruntime")})

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
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        settings.optimized_model_filepath = str(work / "model.onnx")
        graph = as_graph(model, self.name).graph.SerializeToString()
        ort.InferenceSession(graph, settings, ["CPUExecutionProvider"])
        engine = EngineRequirement("onnxruntime-basic", ">=1.20,<2", "model.onnx")
        return Artifact(("model.onnx",), engine, notes=("optimised at level basic",))


class BasicEngine(Engine[Session]):
    libraries = ("onnxruntime",)
    extra = "runtime"

    def open(self, package: Package, options: EngineOptions) -> Session:
        graph, artifact = graph_spec(package), package.read(package.manifest.engine.artifact)
        return OnnxRuntimeSession(artifact, sizes(graph.inputs), sizes(graph.outputs), options)
