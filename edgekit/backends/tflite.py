"""Backend: TFLite flatbuffers, for LiteRT and TensorFlow Lite, from the canonical ONNX graph."""

from __future__ import annotations

import importlib.util
import platform
from importlib.metadata import version
from pathlib import Path

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.errors import ConversionError
from edgekit.model import AnyModel, as_graph
from edgekit.package import EngineRequirement
from edgekit.package.receipt import Measurement, Provenance
from edgekit.progress import Progress
from edgekit.spec import DetectionSpec, Precision
from edgekit.system.distribution import install
from edgekit.target import Target

_NEEDS = {
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "ai_edge_litert": "ai-edge-litert",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "flatbuffers": "flatbuffers",
}
LARGEST = 2**31 - 2**24  # bytes: offsets in a flatbuffer are signed and 32 bits wide
_ARTIFACT = "model.tflite"


class TfliteBackend:
    name = "tflite"
    form = "graph"
    options = ("float_layers",)

    def available(self) -> Availability:
        missing = [n for module, n in _NEEDS.items() if importlib.util.find_spec(module) is None]
        if missing:
            return Availability(f"not installed: {', '.join(missing)}", install("convert,tflite"))
        return Availability(versions={n: version(n) for n in ("ai-edge-litert", "ai-edge-quantizer", "onnxruntime")})

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        mine = (Precision.FP32, Precision.FP16, Precision.W8, Precision.W8A8, Precision.W8A16)
        integer = (Precision.W8A8, Precision.W8A16)
        return tuple(p for p in target.precisions if p in (integer if target.integer else mine))

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        from edgekit.quantize.comparison import calibration_of
        from edgekit.quantize.regions import find_regions
        from edgekit.tflite import quantise
        from edgekit.tflite.inspection import stored_spec, take_inventory
        from edgekit.tflite.layout import channels_first
        from edgekit.tflite.lowering import lower
        from edgekit.tflite.metadata import attach_metadata

        model = as_graph(model, self.name)
        source_spec = model.spec_as(DetectionSpec)
        if model.graph.ByteSize() > LARGEST:
            raise ConversionError(
                f"{model.name} is too large for TFLite",
                "a .tflite holds no more than 2 GB",
                "convert it for a target that takes it (-t cpu)",
            )
        data = lower(model.graph, channels_first(source_spec), model.names).data
        done = quantise.Quantised(data)
        if precision is Precision.FP16:
            done = quantise.Quantised(quantise.half_weights(data), {"weights": "float16"})
        elif precision is Precision.W8 and not (options.calibration and find_regions(model.graph).units):
            done = quantise.Quantised(quantise.byte_weights(data), {"weights": "int8 a channel"})
        elif precision is not Precision.FP32:
            images = calibration_of(model, options.calibration, options.calibration_count)
            done = quantise.quantise(model, precision, images, options.whole("float_layers"), target.integer, progress)
        spec = stored_spec(source_spec, done.data)
        inventory = take_inventory(done.data)
        (work / _ARTIFACT).write_bytes(attach_metadata(done.data, spec, model.name))
        notes = []
        if target.integer and inventory.floats:
            notes.append(f"{inventory.floats} operators have no integer form and compute in float")
        return Artifact(
            (_ARTIFACT,),
            EngineRequirement("litert", _versions(precision, target), _ARTIFACT),
            {"ai-edge-litert": version("ai-edge-litert"), "ai-edge-quantizer": version("ai-edge-quantizer")},
            {**done.settings, "operators": inventory.operators},
            done.search,
            tuple(notes),
            spec,
            (
                _count("operators", inventory.total, "1"),
                _count("transposes", inventory.operators.get("TRANSPOSE", 0), "1"),
                _count("bytes transposed", inventory.transposed, "bytes"),
                *_delegated(done.data),
            ),
        )


def _versions(precision: Precision, target: Target) -> str:
    """The oldest LiteRT that computes the same: 1.2 and 1.3 find nothing with float16 weights, and those before
    2.1.6 do not open integer inputs beside 16-bit outputs."""
    oldest = "2.1.6" if target.integer else "1.4" if precision is Precision.FP16 else "1.2"
    return f">={oldest},<3"


def _count(name: str, value: int, unit: str, note: str = "the .tflite file") -> Measurement:
    return Measurement("graph", name, float(value), unit, Provenance.MEASURED, note=note)


def _delegated(data: bytes) -> tuple[Measurement, ...]:
    """The share of operators that XNNPACK runs on this machine; nothing where LiteRT does not report it."""
    from edgekit.runtime.engines.litert_operators import delegation

    delegated = delegation(data)
    if delegated is None:
        return ()
    left = ", ".join(f"{kind} {count}" for kind, count in delegated.left.items()) or "none"
    note = f"of {delegated.total}, by LiteRT {version('ai-edge-litert')} on {platform.machine()}; not: {left}"
    return (
        _count("operators in XNNPACK", delegated.delegated, "1", note),
        _count("XNNPACK partitions", delegated.partitions, "1", note),
    )
