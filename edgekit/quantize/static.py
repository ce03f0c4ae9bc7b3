"""Static w8a8: 8-bit weights a channel, 8-bit activations calibrated on images, as QDQ ONNX.

What is rounded is decided by measurement. Each convolution is quantised alone and the change in
detections noted; then models with the worst 0, 1, 2, 4 … of them left in float are compared, and
the first that is nearly as good as the best is taken: float where it pays, and no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit import cache
from edgekit.dataset import Dataset
from edgekit.errors import ConversionError
from edgekit.graph.clean import clean
from edgekit.graph.pool_to_conv import pool_to_conv
from edgekit.model import Model
from edgekit.progress import Progress
from edgekit.quantize.calibration import feeds
from edgekit.quantize.ranges import Range, choose, collect
from edgekit.quantize.regions import QUANTISABLE, Regions, find_regions
from edgekit.quantize.sensitivity import Outputs, detection_error
from edgekit.quantize.weights import weight_bits
from edgekit.spec import to_json

LADDER = (0, 1, 2, 4, 8, 16)
_NEARLY = 1.1  # times the best error of the ladder: closer than that is noise
_PROBES = 4  # images each unit is measured on
_JUDGES = 32  # images each step of the ladder is measured on


@dataclass(frozen=True)
class Quantised:
    graph: onnx.ModelProto
    settings: dict[str, Any]
    search: tuple[dict[str, Any], ...]


def quantize(model: Model, dataset: Dataset, float_layers: int | None, progress: Progress) -> Quantised:
    """`float_layers`: how many sensitive layers stay in float; None: as many as pay.

    Raises ConversionError when nothing in the graph can be quantised.
    """
    assert model.spec is not None
    graph = onnx.shape_inference.infer_shapes(clean(pool_to_conv(model.graph)), data_prop=True)
    regions = find_regions(graph)
    if not regions.units:
        raise ConversionError(
            f"{model.name} has nothing that w8a8 can quantise", "it has no convolutions on feature maps",
            "use fp32, or w8 once this target has it",
        )  # fmt: skip
    inputs = list(feeds(dataset.first(_JUDGES), model.spec))
    judge = _Judge(graph, inputs)
    ranges, costs = _measured(graph, regions, judge, model, dataset, progress)
    worst = sorted(regions.units, key=lambda unit: -costs[unit[0]])
    wanted = LADDER if float_layers is None else (float_layers,)
    steps = tuple(s for s in wanted if s <= len(worst)) or (len(worst),)
    tried: list[tuple[int, float, onnx.ModelProto]] = []
    for index, step in enumerate(steps):
        floats = {name for unit in worst[:step] for name in unit}
        candidate = _write(graph, regions, ranges, set(regions.body) - floats - regions.boundary)
        tried.append((step, judge.error(candidate, len(inputs)), candidate))
        progress("choosing what stays in float", index + 1, len(steps))
    limit = _NEARLY * min(error for _, error, _ in tried)
    chosen, _, result = next(t for t in tried if t[1] <= limit)
    search: list[dict[str, Any]] = [
        {"kind": "step", "float_layers": step, "error": error, "chosen": step == chosen}
        for step, error, _ in tried
    ]
    labels = _readable(graph)
    for rank, unit in enumerate(worst):
        search.append(
            {"kind": "region", "name": labels[unit[0]], "cost": costs[unit[0]], "float": rank < chosen}
        )
    settings = {
        "format": "QDQ", "weights": f"int8 a channel, {weight_bits()} bits used", "activations": "uint8",
        "float_layers": chosen, "float_boundary": sorted(labels[n] for n in regions.boundary if n in labels),
        "calibration": {"images": len(dataset.images), "sha256": dataset.fingerprint()},
    }  # fmt: skip
    return Quantised(clean(result), settings, tuple(search))


def _measured(
    graph: onnx.ModelProto, regions: Regions, judge: _Judge, model: Model, dataset: Dataset,
    progress: Progress,
) -> tuple[dict[str, Range], dict[str, float]]:  # fmt: skip
    """Ranges of tensors and costs of units: minutes of work, so kept for the next attempt."""
    key = cache.key(
        graph=hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest(),
        spec=to_json(model.spec), images=dataset.fingerprint(), bits=weight_bits(),
        onnxruntime=version("onnxruntime"),
    )  # fmt: skip

    def make(folder: Path) -> None:
        ranges = _calibrate(graph, regions, model, dataset, progress)
        costs = _costs(graph, regions, ranges, judge, progress)
        (folder / "measured.json").write_text(json.dumps({"ranges": ranges, "costs": costs}))

    data = json.loads((cache.step(f"sensitivity-{key}", make) / "measured.json").read_text())
    return {n: (low, high) for n, (low, high) in data["ranges"].items()}, data["costs"]


def _calibrate(
    graph: onnx.ModelProto, regions: Regions, model: Model, dataset: Dataset, progress: Progress
) -> dict[str, Range]:
    assert model.spec is not None
    body = set(regions.body)
    constants = {t.name for t in graph.graph.initializer}
    wanted = dict.fromkeys(
        name
        for node in graph.graph.node if node.name in body
        for name in (*node.input, *node.output) if name and name not in constants
    )  # fmt: skip
    total = len(dataset.images)
    seen = 0

    def done() -> None:
        nonlocal seen
        seen += 1
        progress("calibrating", seen, total)

    progress("calibrating", 0, total)
    return choose(graph, collect(graph, wanted, feeds(dataset, model.spec), done))


class _Judge:
    """Runs candidate graphs on the same inputs as the float one and says how far they are."""

    def __init__(self, graph: onnx.ModelProto, inputs: Sequence[dict[str, Any]]) -> None:
        self._inputs = inputs
        self._reference = self._run(graph, len(inputs))

    def error(self, graph: onnx.ModelProto, images: int) -> float:
        return detection_error(self._reference[:images], self._run(graph, images))

    def _run(self, graph: onnx.ModelProto, images: int) -> list[Outputs]:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 3
        session = ort.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [o.name for o in session.get_outputs()]
        return [dict(zip(names, session.run(names, feed))) for feed in self._inputs[:images]]


def _costs(
    graph: onnx.ModelProto,
    regions: Regions,
    ranges: dict[str, Range],
    judge: _Judge,
    progress: Progress,
) -> dict[str, float]:
    """For each unit, by its convolution's name: the error when only it is quantised."""
    costs = {}
    for index, unit in enumerate(regions.units):
        candidate = _write(graph, regions, ranges, set(unit))
        costs[unit[0]] = judge.error(candidate, _PROBES)
        progress("measuring sensitivity", index + 1, len(regions.units))
    return costs


def _write(
    graph: onnx.ModelProto, regions: Regions, ranges: dict[str, Range], nodes: Collection[str]
) -> onnx.ModelProto:
    """The graph with quantise/dequantise pairs around `nodes`, by ONNX Runtime's own writer."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)  # the writer changes what it is given
    floats = {n: (np.float32(low), np.float32(high)) for n, (low, high) in ranges.items()}
    writer = QDQQuantizer(
        copy, per_channel=True, reduce_range=weight_bits() == 7, weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8, tensors_range=TensorsData(CalibrationMethod.MinMax, floats),
        nodes_to_quantize=[n for n in regions.body if n in nodes], nodes_to_exclude=[],
        op_types_to_quantize=sorted(QUANTISABLE), extra_options={},
    )  # fmt: skip
    result: onnx.ModelProto = writer.quantize_model()
    return result


def _readable(graph: onnx.ModelProto) -> dict[str, str]:
    """Node names as people can place them: position, kind and the shape of the weights."""
    shapes = {t.name: "×".join(map(str, t.dims)) for t in graph.graph.initializer}
    return {
        node.name: f"{node.name} {shapes.get(node.input[1], '') if len(node.input) > 1 else ''}".strip()
        for node in graph.graph.node
    }
