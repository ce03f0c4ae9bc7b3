"""Quantise a float .tflite with ai-edge-quantizer.

What is rounded is what the search on the ONNX graph found (`edgekit.quantize.search`): tensors
carry the names they have there, so its ranges and its choice of nodes hold here too.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.data.images import Dataset
from edgekit.model import GraphModel
from edgekit.package.search import SearchRow
from edgekit.progress import Progress
from edgekit.quantize.comparison import Outputs
from edgekit.quantize.ranges import Range
from edgekit.quantize.search import Measured, measure, readable, search
from edgekit.runtime.engines.libraries import quiet
from edgekit.spec import DetectionSpec, Precision
from edgekit.tflite.layout import channels_first
from edgekit.tflite.lowering import lower
from edgekit.tflite.writer import SIGNATURE, unpack

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer.quantizer import Quantizer


Array = np.ndarray[Any, Any]
_ACTIVATION_BITS = {Precision.W8A8: 8, Precision.W8A16: 16}


@dataclass(frozen=True)
class Quantised:
    data: bytes
    settings: dict[str, Any] = field(default_factory=dict)
    search: tuple[SearchRow, ...] = ()


def half_weights(data: bytes) -> bytes:
    """Stores weights as float16; they are widened when the file is loaded, and computation stays in float32."""
    recipe = recipe_for(data)
    from ai_edge_quantizer import algorithm_manager

    recipe.add_weight_only_config(".*", "*", 16, algorithm_key=algorithm_manager.AlgorithmName.FLOAT_CASTING)
    return written(recipe)


def byte_weights(data: bytes, nodes: Collection[str] | None = None) -> bytes:
    """Stores weights of `nodes` (None: all) as int8 with a scale a channel; activations are rounded while the
    model runs.

    Not of depthwise convolutions: they have few weights, and XNNPACK has no such kernel for them.
    """
    recipe = recipe_for(data)
    for kind in ("CONV_2D", "CONV_2D_TRANSPOSE", "FULLY_CONNECTED", "BATCH_MATMUL"):
        recipe.add_dynamic_config(_scope(nodes), kind, 8)
    return written(recipe)


def quantise(
    model: GraphModel,
    precision: Precision,
    dataset: Dataset,
    float_layers: int | None,
    integer: bool,
    progress: Progress,
) -> Quantised:
    """`integer`: nothing in floating point, inputs and outputs included; what the search leaves
    out of 8 bits is computed in 16.

    Raises ConversionError when nothing in the graph can be quantised.
    """
    spec = model.spec_as(DetectionSpec)
    measurements = measure(model, dataset, progress)
    images = channels_first(spec)
    lowered = lower(measurements.graph, images, model.names).data
    readers = [n for n in measurements.graph.graph.node if spec.input.name in n.input]
    ranges: dict[str, Range] = {}
    if precision is not Precision.W8:
        ranges = _ranges(lowered, measurements, images, progress)

    def make(nodes: set[str]) -> bytes:
        if precision is Precision.W8:  # rounding a whole image costs more than its few weights save
            return byte_weights(lowered, nodes - {n.name for n in readers})
        return _static(lowered, ranges, nodes, _ACTIVATION_BITS[precision], integer)

    def run(candidate: bytes, inputs: Sequence[dict[str, Array]]) -> list[Outputs]:
        return _run(candidate, inputs, images)

    if precision is Precision.W8A16:  # the kernels take seconds an image, and nothing needs float
        float_layers = float_layers or 0
    result, spared, rows = search(measurements, float_layers, make, run, progress)
    labels, boundary = readable(measurements.graph), measurements.regions.boundary
    settings: dict[str, Any] = {
        "weights": "int8 a channel",
        "float_layers": spared,
        "float_boundary": sorted(labels[n] for n in boundary if n in labels),
        "calibration": {"images": len(dataset.images), "sha256": dataset.fingerprint()},
        "activations": "int8, while it runs"
        if precision is Precision.W8
        else f"int{_ACTIVATION_BITS[precision]}" + (", the rest int16" if integer else ""),
    }
    return Quantised(result, settings, rows)


def recipe_for(data: bytes) -> Quantizer:
    from ai_edge_quantizer import quantizer

    return quantizer.Quantizer(bytearray(data))


def _scope(nodes: Collection[str] | None) -> str:
    """A pattern for the tensors that nodes write: `NODE:0`, and `NODE/kind_1` on the way there."""
    return ".*" if nodes is None else f"^(?:{'|'.join(map(re.escape, sorted(nodes)))})[:/]"


def written(recipe: Quantizer, ranges: Mapping[str, Mapping[str, Array]] | None = None) -> bytes:
    with contextlib.redirect_stderr(io.StringIO()), quiet():  # it has progress bars of its own
        done = recipe.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    return bytes(done.quantized_model)


def _static(data: bytes, ranges: dict[str, Range], nodes: Collection[str], bits: int, integer: bool) -> bytes:
    recipe = recipe_for(data)
    if integer:
        recipe.add_static_config(".*", "*", 16, 8)
        recipe.add_static_config(_scope(nodes), "*", bits, 8)
        recipe.add_static_config(".*", "INPUT", bits, 8)
    else:
        recipe.add_static_config(_scope(nodes), "*", bits, 8)
    values = {
        name: {"min": np.full((1,) * rank, low, np.float32), "max": np.full((1,) * rank, high, np.float32)}
        for name, rank in _activations(data).items()
        for low, high in [ranges[name]]
    }
    return written(recipe, values)


def _activations(data: bytes) -> dict[str, int]:
    """Name and rank of each float tensor that is computed."""
    model = unpack(data)
    graph = model.subgraphs[0]
    constant = [i for i, b in enumerate(model.buffers) if b.data is not None]
    return {t.name.decode(): len(t.shape) for t in graph.tensors if t.type == 0 and t.buffer not in constant}


def _ranges(data: bytes, measurements: Measured, images: Collection[str], progress: Progress) -> dict[str, Range]:
    """The ranges of the search, and the extremes on images of tensors that only this file has."""
    missing = [n for n in _activations(data) if n not in measurements.ranges]
    extremes = dict.fromkeys(missing, (0.0, 0.0))
    interpreter = _interpreter(data, keep=True)
    at = {t["name"]: t["index"] for t in interpreter.get_tensor_details()}
    for done, inputs in enumerate(measurements.inputs, 1):
        for name, value in _stored(inputs, images).items():
            interpreter.set_tensor(at[name], value)
        interpreter.invoke()
        for name in missing:
            value = interpreter.get_tensor(at[name])
            low, high = extremes[name]
            extremes[name] = (min(low, float(value.min())), max(high, float(value.max())))
        progress("calibrating what TFLite adds", done, len(measurements.inputs))
    return {**extremes, **measurements.ranges}


def _run(data: bytes, inputs: Sequence[dict[str, Array]], images: Collection[str]) -> list[Outputs]:
    interpreter = _interpreter(data)
    runner = interpreter.get_signature_runner(SIGNATURE)
    details = {**runner.get_input_details(), **runner.get_output_details()}
    results = []
    for feed in inputs:
        arguments = {n: _as_integers(v, details[n]) for n, v in _stored(feed, images).items()}
        results.append({n: _as_floats(v, details[n]) for n, v in runner(**arguments).items()})
    return results


def _as_integers(value: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    if not scale:
        return value
    limits = np.iinfo(detail["dtype"])
    return np.clip(np.rint(value / scale) + zero, limits.min, limits.max).astype(detail["dtype"])


def _as_floats(value: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    return ((value - np.float32(zero)) * np.float32(scale)) if scale else value


def _stored(inputs: dict[str, Array], images: Collection[str]) -> dict[str, Array]:
    return {n: v.transpose(0, 2, 3, 1) if n in images else v for n, v in inputs.items()}


def _interpreter(data: bytes, keep: bool = False) -> Interpreter:
    """`keep`: every tensor can be read after a run, which the fast kernels do not allow."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    from edgekit.runtime.cores import default_threads

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES if keep else OpResolverType.AUTO
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")  # it warns of the memory that `keep` takes
        interpreter = Interpreter(
            model_content=data,
            num_threads=default_threads(),
            experimental_op_resolver_type=kind,
            experimental_preserve_all_tensors=keep,
        )
        interpreter.allocate_tensors()
    return interpreter
