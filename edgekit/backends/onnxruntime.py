"""Backend: CPUs through ONNX Runtime. Leaves an `.onnx` that any language can open."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.model import AnyModel, as_graph
from edgekit.package import EngineRequirement
from edgekit.progress import Progress
from edgekit.quantize.weights import weight_bits
from edgekit.spec import Precision
from edgekit.system.distribution import install
from edgekit.target import Target

_NEEDS = ("onnx", "onnxruntime", "onnx_ir", "onnxscript", "sympy")


class OnnxRuntimeBackend:
    name = "onnxruntime"
    form = "graph"
    options = ("float_layers",)

    def available(self) -> Availability:
        missing = [n for n in _NEEDS if importlib.util.find_spec(n) is None]
        if missing:
            return Availability(f"not installed: {', '.join(missing)}", install("convert"))
        # what w8a8 writes depends on the processor, so it is part of what decides a cached result
        return Availability(versions={"onnxruntime": version("onnxruntime"), "w8a8 weight bits": str(weight_bits())})

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        mine = (Precision.FP32, Precision.W8A8)
        return tuple(p for p in target.precisions if p in mine)

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        from edgekit.graph.oldest_form import opset_of

        model = as_graph(model, self.name)
        # 1.20 knows operators of opset 21; later ones are tried here only
        oldest = "1.20" if opset_of(model.graph) <= 21 else version("onnxruntime")
        engine = EngineRequirement("onnxruntime", f">={oldest},<2", "model.onnx")
        if precision is Precision.FP32:
            (work / "model.onnx").write_bytes(model.graph.SerializeToString(deterministic=True))
            return Artifact(("model.onnx",), engine)
        from edgekit.quantize.comparison import calibration_of
        from edgekit.quantize.static import quantize

        dataset = calibration_of(model, options.calibration, options.calibration_count)
        result = quantize(model, dataset, options.whole("float_layers"), progress)
        (work / "model.onnx").write_bytes(result.graph.SerializeToString(deterministic=True))
        return Artifact(("model.onnx",), engine, settings=result.settings, search=result.search)
