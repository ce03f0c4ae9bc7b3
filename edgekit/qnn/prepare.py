"""A model as the NPU's compiler gets it, and the gates it passes on the way.

First: what the passes made of the float graph equals the source on the CPU. Second: the quantised
graph runs on the CPU too, and how far it is from float there. The compiler would take graphs that
fail either. The third is that it leaves nothing to the CPU (context.py), the fourth the simulator
(edgekit/tasks/detection/judge.py); the receipt names all four.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit import cache
from edgekit.data.images import Dataset
from edgekit.errors import ConversionError
from edgekit.graph.channels_last import channels_last
from edgekit.graph.clean import clean
from edgekit.graph.flat_matmul import flat_matmul
from edgekit.graph.pool_to_conv import pool_to_conv
from edgekit.model import GraphModel
from edgekit.package.receipt import Measurement, Provenance
from edgekit.package.search import SearchRow, read_row
from edgekit.progress import Progress
from edgekit.qnn.integers import integers_in_and_out
from edgekit.qnn.quantise import laid_out, quantise
from edgekit.quantize.calibration import feeds
from edgekit.quantize.search import run_onnx
from edgekit.runtime.engine import Array
from edgekit.spec import DetectionSpec, Precision, from_json, to_json

_EQUAL = {"boxes": 0.05, "scores": 1e-3, "classes": 0.0}  # px and probability: order of additions
_PROBES = 2


@dataclass(frozen=True)
class Prepared:
    graph: onnx.ModelProto
    spec: DetectionSpec
    names: dict[str, str]  # the user's, of the graph's nodes
    gates: tuple[Measurement, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    search: tuple[SearchRow, ...] = ()


def prepare(
    model: GraphModel,
    precision: Precision,
    images: Dataset | None,
    wide_layers: int | None,
    floats: Collection[str],
    progress: Progress,
    elsewhere: bool = False,
) -> Prepared:
    """Prepares a model once for all chips: the result is cached by content. `elsewhere`: another service
    quantises the model, which stays in float here.

    Raises ConversionError when a gate fails or the graph cannot be what the NPU needs.
    """
    spec = model.spec_as(DetectionSpec)
    if spec.nms_in_graph and any(-1 in o.shape for o in spec.outputs):
        raise ConversionError(
            f"{model.name} suppresses duplicates itself, which leaves its outputs without a fixed size",
            "an NPU computes on fixed sizes only",
            "export it without NonMaxSuppression: edgekit's runtime suppresses duplicates",
        )
    key = cache.key(
        graph=model.fingerprint,
        spec=to_json(spec),
        names=model.names,
        precision=precision.value,
        images=images.fingerprint() if images else "",
        wide_layers=wide_layers,
        floats=sorted(floats),
        elsewhere=elsewhere,
        onnxruntime=version("onnxruntime"),
    )

    def make(folder: Path) -> None:
        rest = to_json(_prepared(model, precision, images, wide_layers, floats, progress, elsewhere))
        graph = rest.pop("graph").SerializeToString(deterministic=True)
        (folder / "graph.onnx").write_bytes(graph)
        (folder / "rest.json").write_text(json.dumps(rest), encoding="utf-8")

    folder = cache.step(f"prepared-{key}", make)
    rest = json.loads((folder / "rest.json").read_text(encoding="utf-8"))
    return from_json(Prepared, {**rest, "graph": onnx.load(str(folder / "graph.onnx"))}, {SearchRow: read_row})


def _prepared(
    model: GraphModel,
    precision: Precision,
    images: Dataset | None,
    wide_layers: int | None,
    floats: Collection[str],
    progress: Progress,
    elsewhere: bool,
) -> Prepared:
    graph = model.graph if precision.is_float else clean(pool_to_conv(model.graph))
    prepared, spec = channels_last(flat_matmul(graph), model.spec_as(DetectionSpec))
    gates = _equal_to_source(model, prepared, spec, images)
    if precision.is_float or elsewhere:
        return Prepared(prepared, spec, model.names, gates, {"input": spec.input.layout})
    assert images is not None
    done = quantise(model, precision, images, wide_layers, floats, progress)
    error = Measurement(
        "gate",
        "QDQ on the CPU: detection error",
        done.error,
        "1",
        Provenance.MEASURED,
        done.images,
        note=f"{done.images} calibration images",
    )
    graph, spec = integers_in_and_out(done.graph, done.spec)
    return Prepared(graph, spec, done.names, (*gates, error), done.settings, done.search)


def _equal_to_source(
    model: GraphModel, graph: onnx.ModelProto, spec: DetectionSpec, images: Dataset | None
) -> tuple[Measurement, ...]:
    """Raises ConversionError when the passes changed what the graph computes."""
    source_spec = model.spec_as(DetectionSpec)
    probes = list(feeds(images.first(_PROBES), source_spec)) if images else _noise(source_spec)
    name, note = spec.input.name, "photographs" if images else "images of noise"
    mine = run_onnx(graph, [{name: laid_out(p[name], spec)} for p in probes])
    rows = []
    for output in spec.outputs:
        pairs = zip(run_onnx(model.graph, probes), mine)
        worst = max(float(np.abs(a[output.name] - b[output.name]).max()) for a, b in pairs)
        if not worst <= _EQUAL[output.name]:
            raise ConversionError(
                f"Preparing {model.name} for the NPU changed its {output.name} by {worst:.3g}",
                "a pass is wrong for this graph",
                "please report it, with the model if you can",
            )
        unit = "px" if output.name == "boxes" else "1"
        rows.append(
            Measurement(
                "gate",
                f"float graph on the CPU: {output.name} max error",
                worst,
                unit,
                Provenance.MEASURED,
                len(probes),
                note=f"CPU, {len(probes)} {note}",
            )
        )
    return tuple(rows)


def _noise(spec: DetectionSpec) -> list[dict[str, Array]]:
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 256, (_PROBES, *spec.input.shape)).astype(np.float32)
    mean, std = np.float32(spec.image.mean[0]), np.float32(spec.image.std[0])
    return [{spec.input.name: (pixels - mean) / std} for pixels in levels]
