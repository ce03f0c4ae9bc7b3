"""Quantise a detector for Qualcomm's NPU: 8 bits where it holds, 16 where it does not.

What decodes boxes (pixels beside probabilities) and what hands it its numbers computes on 16
bits; of the rest, as many of the most sensitive layers as the search finds to pay.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from edgekit.dataset import Dataset
from edgekit.graph.channels_last import channels_last
from edgekit.graph.flat_matmul import flat_matmul
from edgekit.model import Model
from edgekit.progress import Progress
from edgekit.qnn import qdq
from edgekit.quantize.ranges import Range
from edgekit.quantize.search import measure, readable, run_onnx, search
from edgekit.quantize.sensitivity import Outputs, detection_error
from edgekit.spec import DetectionSpec, Precision

_MOVING = frozenset({
    "Concat", "Gather", "MaxPool", "Pad", "Reshape", "Resize", "Slice", "Split", "Transpose",
    "DepthToSpace", "SpaceToDepth", "Squeeze", "Unsqueeze", "Flatten",
})  # fmt: skip


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
    search: tuple[dict[str, Any], ...]


def quantise(
    model: Model, precision: Precision, dataset: Dataset, wide_layers: int | None,
    floats: Collection[str], progress: Progress,
) -> Quantised:  # fmt: skip
    """`wide_layers`: how many sensitive layers compute on 16 bits; None: as many as pay.
    `floats`: nodes left in float, by their names in the quantised graph.

    Raises ConversionError when nothing in the graph can be quantised.
    """
    assert model.spec is not None
    found = measure(model, dataset, progress)
    graph, spec = channels_last(flat_matmul(found.graph), model.spec)
    names = {n.name: model.names.get(o.name, "") for n, o in zip(found.graph.graph.node, model.graph.graph.node)}  # fmt: skip
    image = spec.input.name
    tight, full = (_completed(graph, r) for r in (found.ranges, found.extremes))
    every, left = {n.name for n in graph.graph.node}, frozenset(floats)

    def make(narrow: set[str], ranges: Mapping[str, Range]) -> onnx.ModelProto:
        return qdq.write(graph, ranges, full, _spread(graph, every - narrow), left)

    def run(candidate: onnx.ModelProto, inputs: Sequence[dict[str, Any]]) -> list[Outputs]:
        return run_onnx(candidate, [{image: laid_out(i[image], spec)} for i in inputs])

    def error_of(candidate: onnx.ModelProto) -> float:
        return detection_error(found.reference, run(candidate, found.inputs))

    settings: dict[str, Any] = {
        "format": "QDQ", "weights": "int8 a channel", "left_in_float": sorted(left),
        "calibration": {"images": len(dataset.images), "sha256": dataset.fingerprint()},
    }  # fmt: skip
    if precision is Precision.W8A16:
        result = make(set(), full)
        settings |= {"activations": "uint16", "ranges": "extremes"}
        return Quantised(result, spec, names, error_of(result), len(found.inputs), settings, ())
    kinds = {"chosen for 8 bits": tight, "extremes": full}
    errors = {k: error_of(make(found.quantised(()), r)) for k, r in kinds.items()}
    best = min(errors, key=lambda k: errors[k])
    result, chosen, tried = search(
        found, wide_layers, lambda nodes: make(nodes, kinds[best]), run, progress, "on 16 bits"
    )
    labels = readable(found.graph)
    settings |= {
        "activations": "uint8", "ranges": best, "float_layers": chosen, "kept": "on 16 bits",
        "float_boundary": sorted(labels[n] for n in found.regions.boundary),
    }  # fmt: skip
    ranges = tuple(
        {"kind": "ranges", "name": k, "error": e, "chosen": k == best} for k, e in errors.items()
    )
    return Quantised(
        result, spec, names, error_of(result), len(found.inputs), settings, (*ranges, *tried)
    )


def _spread(graph: onnx.ModelProto, wide: Collection[str]) -> set[str]:
    """`wide`, and what only moves or joins the numbers of such nodes: narrow, it would undo them."""
    found, known = set(wide), {t.name for t in graph.graph.initializer}
    made: dict[str, str] = {}
    for node in graph.graph.node:  # in topological order
        from_nodes = [made[i] for i in node.input if i in made]
        if node.op_type in _MOVING and from_nodes and all(n in found for n in from_nodes):
            found.add(node.name)
        made.update({o: node.name for o in node.output if o not in known})
    return found


def _completed(graph: onnx.ModelProto, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """With those of the tensors that passes added, which hold the numbers of others."""
    found = dict(ranges)
    for node in (*graph.graph.node, *reversed(graph.graph.node)):
        if node.op_type in ("Reshape", "Transpose"):
            before, after = node.input[0], node.output[0]
            if before in found:
                found.setdefault(after, found[before])
            elif after in found:
                found[before] = found[after]
    return found


def laid_out(image: np.ndarray[Any, Any], spec: DetectionSpec) -> np.ndarray[Any, Any]:
    """From channels first to how `spec` has them."""
    last = spec.input.layout.endswith("HWC") and image.shape != spec.input.shape
    return np.ascontiguousarray(np.moveaxis(image, -3, -1)) if last else image
