"""What must stay in float, decided by measurement.

Each convolution is quantised alone and the change in detections noted; then candidates with the
worst 0, 1, 2, 4 … of them left in float are compared, and the first that is nearly as good as the
best is taken: float where it pays, and no more. The costs serve every backend: where rounding
hurts is a property of the network.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import onnx

from edgekit import cache
from edgekit.data.images import Dataset
from edgekit.errors import ConversionError
from edgekit.graph.clean import clean
from edgekit.graph.pool_to_conv import pool_to_conv
from edgekit.graph.view import GraphView
from edgekit.model import GraphModel
from edgekit.package.search import Region, Step
from edgekit.progress import Progress
from edgekit.quantize import qdq
from edgekit.quantize.calibration import feeds, image_spec
from edgekit.quantize.comparison import Outputs, comparison_of
from edgekit.quantize.ranges import Range, around_zero, choose, collect
from edgekit.quantize.regions import Regions, find_regions
from edgekit.quantize.weights import weight_bits
from edgekit.runtime.engine import Array
from edgekit.runtime.engines.libraries import onnxruntime
from edgekit.spec import to_json

Candidate = TypeVar("Candidate")
Distance = Callable[[Sequence[Outputs], Sequence[Outputs]], float]  # of a task: see Comparison

LADDER = (0, 1, 2, 4, 8, 16)
_NEARLY = 1.1  # times the best error of the ladder: closer than that is noise
_PROBES = 4  # images each unit is measured on
_JUDGES = 32  # images each step of the ladder is measured on


@dataclass(frozen=True)
class Measured:
    """A graph ready to be quantised and what was found out about it.

    `ranges` are those of tensors, by name, chosen for 8 bits; `extremes` what was seen; `costs` the
    error that each unit of `regions` causes alone, by the name of its convolution;
    `inputs` judge candidates.
    """

    graph: onnx.ModelProto
    regions: Regions
    ranges: dict[str, Range]
    extremes: dict[str, Range]
    costs: dict[str, float]
    inputs: list[dict[str, Array]]
    reference: list[Outputs]
    distance: Distance

    def error_of(self, outputs: Sequence[Outputs]) -> float:
        """How far the outputs of a candidate on `inputs` are from those in float."""
        return self.distance(self.reference, outputs)

    def quantised(self, floats: Collection[str]) -> set[str]:
        """Names of the nodes to quantise when `floats` and the boundary stay as they are."""
        return set(self.regions.body) - set(floats) - self.regions.boundary


def measure(model: GraphModel, dataset: Dataset, progress: Progress, sensitivity: bool = True) -> Measured:
    """`sensitivity`: whether `costs` are wanted, which takes minutes.

    Raises ConversionError when nothing in the graph can be quantised.
    """
    spec, distance = image_spec(model), comparison_of(model).distance
    graph = onnx.shape_inference.infer_shapes(clean(pool_to_conv(model.graph)), data_prop=True)
    regions = find_regions(graph)
    if not regions.units:
        raise ConversionError(
            f"{model.name} has nothing that can be quantised so",
            "it has no convolutions on feature maps",
            "use fp32, or w8 where the target has it",
        )
    inputs = list(feeds(dataset.first(_JUDGES), spec))
    reference = run_onnx(graph, inputs)
    key = cache.key(
        graph=hashlib.sha256(graph.SerializeToString(deterministic=True)).hexdigest(),
        spec=to_json(spec),
        images=dataset.fingerprint(),
        bits=weight_bits(),
        onnxruntime=version("onnxruntime"),
    )

    def calibrate() -> tuple[dict[str, Range], dict[str, Range]]:
        return _calibrate(graph, model, dataset, progress)

    def weigh() -> dict[str, float]:
        return _costs(graph, regions, ranges, inputs, reference, distance, progress)

    ranges, extremes = ({n: (low, high) for n, (low, high) in part.items()} for part in _kept("ranges", key, calibrate))
    costs = _kept("sensitivity", key, weigh) if sensitivity else {}
    return Measured(graph, regions, ranges, extremes, costs, inputs, reference, distance)


def _kept(name: str, key: str, make: Callable[[], object]) -> Any:
    """What `make` returns, as JSON, kept for the next attempt: it takes up to minutes."""

    def write(folder: Path) -> None:
        (folder / "found.json").write_text(json.dumps(make()), encoding="utf-8")

    return json.loads((cache.step(f"{name}-{key}", write) / "found.json").read_text(encoding="utf-8"))


def search(
    measured: Measured,
    float_layers: int | None,
    make: Callable[[set[str]], Candidate],
    run: Callable[[Candidate, list[dict[str, Array]]], list[Outputs]],
    progress: Progress,
    where: str = "in float",
) -> tuple[Candidate, int, tuple[Step | Region, ...]]:
    """The candidate to take, how many units it leaves in float, and what was tried.

    `float_layers`: how many sensitive layers stay in float; None: as many as pay.
    `make` gets the nodes to quantise, `run` the inputs to run a candidate on.
    """
    worst = sorted(measured.regions.units, key=lambda unit: -measured.costs[unit[0]])
    ladder = LADDER if float_layers is None else (float_layers,)
    steps = tuple(s for s in ladder if s <= len(worst)) or (len(worst),)
    tried: list[tuple[int, float, Candidate]] = []
    for index, step in enumerate(steps):
        candidate = make(measured.quantised({name for unit in worst[:step] for name in unit}))
        error = measured.error_of(run(candidate, measured.inputs))
        tried.append((step, error, candidate))
        progress(f"choosing what stays {where}", index + 1, len(steps))
    limit = _NEARLY * min(error for _, error, _ in tried)
    count, _, result = next(t for t in tried if t[1] <= limit)
    labels = readable(measured.graph)
    rungs = (Step(step, error, step == count) for step, error, _ in tried)
    regions = (Region(labels[unit[0]], measured.costs[unit[0]], rank < count) for rank, unit in enumerate(worst))
    return result, count, (*rungs, *regions)


def run_onnx(graph: onnx.ModelProto, inputs: Sequence[Mapping[str, Array]], fused: bool = True) -> list[Outputs]:
    """Outputs for each of `inputs`. `fused`: with this processor's integer kernels, which is how a
    CPU runs it; otherwise each operation in float between its roundings, the same on every machine
    (u8×s8 kernels saturate on x86 without VNNI)."""
    ort = onnxruntime()

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # hundreds of short sessions: threads that spin while they wait take each other's time
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not fused:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return [dict(zip(names, session.run(names, feed))) for feed in inputs]


def readable(graph: onnx.ModelProto) -> dict[str, str]:
    """Node names as people can place them: position, kind and the shape of the weights."""
    shapes = {t.name: "×".join(map(str, t.dims)) for t in graph.graph.initializer}
    return {
        node.name: f"{node.name} {shapes.get(node.input[1], '') if len(node.input) > 1 else ''}".strip()
        for node in graph.graph.node
    }


def _calibrate(
    graph: onnx.ModelProto, model: GraphModel, dataset: Dataset, progress: Progress
) -> tuple[dict[str, Range], dict[str, Range]]:
    """Ranges chosen for 8 bits, and extremes, of all that is computed in float."""
    view = GraphView(graph)
    tensors = dict.fromkeys(
        name
        for node in graph.graph.node
        for name in (*node.input, *node.output)
        if name not in view.constants and view.types.get(name) == onnx.TensorProto.FLOAT
    )
    total = len(dataset.images)
    seen = 0

    def done() -> None:
        nonlocal seen
        seen += 1
        progress("calibrating", seen, total)

    progress("calibrating", 0, total)
    statistics = collect(graph, tensors, feeds(dataset, image_spec(model)), done)
    return choose(graph, statistics), {n: around_zero(s) for n, s in statistics.items()}


def _costs(
    graph: onnx.ModelProto,
    regions: Regions,
    ranges: dict[str, Range],
    inputs: list[dict[str, Array]],
    reference: list[Outputs],
    distance: Distance,
    progress: Progress,
) -> dict[str, float]:
    """For each unit, by its convolution's name: the error when only it is quantised."""
    costs = {}
    for index, unit in enumerate(regions.units):
        outputs = run_onnx(qdq.write_alone(graph, regions, ranges, set(unit)), inputs[:_PROBES])
        costs[unit[0]] = distance(reference[:_PROBES], outputs)
        progress("measuring sensitivity", index + 1, len(regions.units))
    return costs
