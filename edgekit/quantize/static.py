"""Static w8a8 for ONNX Runtime: 8-bit weights a channel, 8-bit activations calibrated on images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx

from edgekit.data.images import Dataset
from edgekit.graph.clean import clean
from edgekit.model import GraphModel
from edgekit.package.search import SearchRow
from edgekit.progress import Progress
from edgekit.quantize import qdq
from edgekit.quantize.search import measure, readable, run_onnx, search
from edgekit.quantize.weights import weight_bits


@dataclass(frozen=True)
class Quantised:
    graph: onnx.ModelProto
    settings: dict[str, Any]
    search: tuple[SearchRow, ...]


def quantize(model: GraphModel, dataset: Dataset, float_layers: int | None, progress: Progress) -> Quantised:
    """`float_layers`: how many sensitive layers stay in float; None: as many as pay.

    Raises ConversionError when nothing in the graph can be quantised.
    """
    measured = measure(model, dataset, progress)

    def make(nodes: set[str]) -> onnx.ModelProto:
        return qdq.write(measured.graph, measured.regions, measured.ranges, nodes)

    result, float_count, tried = search(measured, float_layers, make, run_onnx, progress)
    labels, boundary = readable(measured.graph), measured.regions.boundary
    settings = {
        "format": "QDQ",
        "weights": f"int8 a channel, {weight_bits()} bits used",
        "activations": "uint8",
        "float_layers": float_count,
        "float_boundary": sorted(labels[n] for n in boundary if n in labels),
        "calibration": {"images": len(dataset.images), "sha256": dataset.fingerprint()},
    }
    return Quantised(clean(result), settings, tried)
