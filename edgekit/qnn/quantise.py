"""Quantise a detector for Qualcomm's NPU: 8 bits where it holds, 16 where it does not.

What decodes boxes (pixels beside probabilities) and what hands it its numbers computes on 16
bits; of the rest, as many of the most sensitive layers as the search finds to pay. Candidates are
judged on the CPU by their arithmetic, not by the CPU's own integer kernels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgekit.data.images import Dataset
from edgekit.errors import ConversionError
from edgekit.graph.channels_last import channels_last
from edgekit.graph.flat_matmul import flat_matmul
from edgekit.model import GraphModel
from edgekit.package.search import Ranges, SearchRow, Step
from edgekit.progress import Progress
from edgekit.qnn import qdq
from edgekit.qnn.silu import keep_silu_apart
from edgekit.quantize.comparison import Outputs
from edgekit.quantize.ranges import Range
from edgekit.quantize.search import measure, readable, run_onnx, search
from edgekit.runtime.engine import Array
from edgekit.spec import DetectionSpec, Precision

_MOVING = frozenset(
    {
        "Concat",
        "Gather",
        "MaxPool",
        "Pad",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Transpose",
        "DepthToSpace",
        "SpaceToDepth",
        "Squeeze",
        "Unsqueeze",
        "Flatten",
    }
)
_BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Softmax"})  # to 0..1, whatever comes in
_ROOM = 0.25  # of its span that a range of 16 bits has beyond what was seen, on either side
_TIGHT, _EXTREME = "chosen for 8 bits", "as seen"


@dataclass(frozen=True)
class Quantised:
    """`graph` takes and gives floats still, images as `spec` says; `names` are the user's of its
    nodes. `error` is its detection error against float on the CPU, over so many `images`."""

    graph: onnx.ModelProto
    spec: DetectionSpec
    names: dict[str, str]
    error: float
    images: int
    settings: dict[str, Any]
    search: tuple[SearchRow, ...]


def quantise(
    model: GraphModel,
    precision: Precision,
    dataset: Dataset,
    wide_layers: int | None,
    floats: Collection[str],
    progress: Progress,
) -> Quantised:
    """`wide_layers`: how many sensitive layers compute on 16 bits; None: as many as pay.
    `floats`: nodes left in float, by their names in the quantised graph.

    Raises ConversionError when nothing in the graph can be quantised.
    """
    wide_only = precision is Precision.W8A16
    measurements = measure(model, dataset, progress, sensitivity=not wide_only)
    graph, spec = channels_last(flat_matmul(measurements.graph), model.spec_as(DetectionSpec))
    names = {n.name: model.names.get(o.name, "") for n, o in zip(measurements.graph.graph.node, model.graph.graph.node)}
    image = spec.input.name
    tight, extremes = (_completed(graph, r) for r in (measurements.ranges, measurements.extremes))
    full = _with_room(graph, extremes)
    every, left = {n.name for n in graph.graph.node}, frozenset(floats)

    def make(narrow: set[str], ranges: Mapping[str, Range]) -> onnx.ModelProto:
        wide = _spread(graph, every - narrow)
        safe, added = keep_silu_apart(graph, wide - left)
        ours, theirs = ({**r, **{n: r[same] for n, same in added.items()}} for r in (ranges, full))
        return qdq.write(safe, ours, theirs, wide | added.keys(), left)

    def run(candidate: onnx.ModelProto, inputs: Sequence[Mapping[str, Array]]) -> list[Outputs]:
        feeds = [{image: laid_out(i[image], spec)} for i in inputs]
        try:
            return run_onnx(candidate, feeds, fused=False)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise ConversionError(
                f"{model.name}, quantised, does not run on the CPU",
                str(error).splitlines()[0][-300:],
                "please report it, with the model if you can; or take fp16",
            ) from error

    def error_of(candidate: onnx.ModelProto) -> float:
        return measurements.error_of(run(candidate, measurements.inputs))

    settings: dict[str, Any] = {
        "format": "QDQ",
        "weights": "int8 a channel",
        "left_in_float": sorted(left),
        "calibration": {"images": len(dataset.images), "sha256": dataset.fingerprint()},
    }
    judges = len(measurements.inputs)
    if wide_only:
        result = make(set(), full)
        settings |= {"activations": "uint16", "ranges": f"{_EXTREME}, {_ROOM:.0%} more on either side"}
        return Quantised(result, spec, names, error_of(result), judges, settings, ())
    kinds = {_TIGHT: tight, _EXTREME: extremes}
    errors = {k: error_of(make(measurements.quantised(()), r)) for k, r in kinds.items()}
    best = min(errors, key=lambda k: errors[k])
    result, spared, trials = search(
        measurements, wide_layers, lambda nodes: make(nodes, kinds[best]), run, progress, "on 16 bits"
    )
    labels = readable(measurements.graph)
    settings |= {
        "activations": "uint8",
        "ranges": best,
        "float_layers": spared,
        "kept": "on 16 bits",
        "float_boundary": sorted(labels[n] for n in measurements.regions.boundary),
    }
    rows = tuple(Ranges(f"weights a channel, ranges {k}", e, k == best) for k, e in errors.items())
    error = next(t.error for t in trials if isinstance(t, Step) and t.chosen)
    return Quantised(result, spec, names, error, judges, settings, (*rows, *trials))


def _spread(graph: onnx.ModelProto, wide: Collection[str]) -> set[str]:
    """`wide`, and what only moves or joins the numbers of such nodes: narrow, it would undo them."""
    spread, known = set(wide), {t.name for t in graph.graph.initializer}
    producers: dict[str, str] = {}
    for node in graph.graph.node:  # in topological order
        from_nodes = [producers[i] for i in node.input if i in producers]
        if node.op_type in _MOVING and from_nodes and all(n in spread for n in from_nodes):
            spread.add(node.name)
        producers.update({o: node.name for o in node.output if o not in known})
    return spread


def _completed(graph: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges, with those of the tensors that passes added, which hold the numbers of others."""
    completed = dict(ranges)
    for node in (*graph.graph.node, *reversed(graph.graph.node)):
        if node.op_type in ("Reshape", "Transpose"):
            before, after = node.input[0], node.output[0]
            if before in completed:
                completed.setdefault(after, completed[before])
            elif after in completed:
                completed[before] = completed[after]
    return completed


def _with_room(graph: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Ranges for 16 bits, which can spare the room: the score of a class that no calibration image
    holds would else be cut off at what was seen of it, often at one half."""
    bounded = {o for n in graph.graph.node if n.op_type in _BOUNDED for o in n.output}
    bounded |= {v.name for v in graph.graph.input}
    return {
        name: (low, high)
        if name in bounded
        else (low - _ROOM * (high - low) if low < 0 else low, high + _ROOM * (high - low))
        for name, (low, high) in ranges.items()
    }


def laid_out(image: Array, spec: DetectionSpec) -> Array:
    """The image from channels first to the layout of `spec`."""
    last = spec.input.layout.endswith("HWC") and image.shape != spec.input.shape
    return np.ascontiguousarray(np.moveaxis(image, -3, -1)) if last else image
