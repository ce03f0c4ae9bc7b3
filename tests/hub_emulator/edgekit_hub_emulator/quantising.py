"""Quantize jobs: from float ONNX and calibration data to ONNX with QuantizeLinear nodes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit_hub_emulator.artefacts import load_onnx, pack_onnx, specs
from edgekit_hub_emulator.datasets import read_npz
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.options import Options
from edgekit_hub_emulator.reshaping import folded
from edgekit_hub_emulator.toolchain import log

_COMPARED = 8  # samples of the calibration data


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    options = Options(job["options"])
    scheme = options.text("range_scheme", "auto")
    if scheme not in ("auto", "min_max"):
        raise JobError(f"The emulator calibrates by extremes (min_max) only, not by {scheme}.")
    if job["weights"] != "int8" or job["activations"] not in ("int8", "int16"):
        raise JobError("Weights must be INT8 and activations must be INT8 or INT16.", "INVALID_ARGUMENT")
    if options.rest():
        raise JobError(f"The emulator cannot honour --{options.rest()[0]}.", "INVALID_ARGUMENT")
    graph = folded(load_onnx(job["models"][0], folder))
    if any(n.op_type == "QuantizeLinear" for n in graph.graph.node):
        raise JobError("The model is quantised already.", "MODEL_INVALID")
    data = folder / job["dataset"]
    result = quantise(graph, data, job["activations"])
    file = pack_onnx(result, job["target"], folder)
    weights = {t.name for t in result.graph.initializer}
    return {
        "file": file.name,
        "inputs": specs(v for v in result.graph.input if v.name not in weights),
        "outputs": specs(result.graph.output),
        "detail": {"psnr": _compare(graph, result, data)},
    }


def quantise(graph: onnx.ModelProto, data: Path, activations: str) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    samples = feeds(graph, data)
    log(f"calibrating with {len(samples)} samples")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = iter(samples)

        def get_next(self) -> Any:
            return next(self._left, None)

    kind = {"int8": QuantType.QUInt8, "int16": QuantType.QUInt16}[activations]
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)  # calibrating moves the weights of what it is given into files
    config = get_qnn_qdq_config(copy, Reader(), activation_type=kind, weight_type=QuantType.QInt8, per_channel=True)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "quantised.onnx"
        quantize(copy, str(path), config)
        return onnx.load(path)


def feeds(graph: onnx.ModelProto, data: Path) -> list[dict[str, Any]]:
    """One for each sample. Raises JobError when names, types or shapes do not fit."""
    entries = read_npz(data)
    weights = {t.name for t in graph.graph.initializer}
    expected = specs(v for v in graph.graph.input if v.name not in weights)
    check(entries, expected)
    count = len(next(iter(entries.values())))
    if not count:
        raise JobError("The dataset is empty.", "INVALID_INPUTS")
    return [{name: values[i] for name, values in entries.items()} for i in range(count)]


def check(entries: dict[str, list[Any]], expected: list[dict[str, Any]]) -> None:
    names = [w["name"] for w in expected]
    if len({len(samples) for samples in entries.values()}) > 1:
        raise JobError("The dataset has not as many samples of each input.", "INVALID_INPUTS")
    if list(entries) != names:
        raise JobError(f"The dataset has {', '.join(entries)}; the model takes {', '.join(names)}.", "INVALID_INPUTS")
    for spec in expected:
        for sample in entries[spec["name"]]:
            fits = len(sample.shape) == len(spec["shape"]) and all(
                b in (0, a) for a, b in zip(sample.shape, spec["shape"])
            )
            if not fits or str(sample.dtype) != spec["dtype"]:
                raise JobError(
                    f"Input '{spec['name']}' takes {spec['dtype']}{spec['shape']}; the dataset has "
                    f"{sample.dtype}{list(sample.shape)}.",
                    "INVALID_INPUTS",
                )


def _compare(graph: onnx.ModelProto, quantised: onnx.ModelProto, data: Path) -> dict[str, float]:
    """Peak signal to noise of each output, dB, on the calibration data."""
    from edgekit.quantize.search import run_onnx

    samples = feeds(graph, data)[:_COMPARED]
    mine, theirs = run_onnx(graph, samples), run_onnx(quantised, samples)
    ratios = {}
    for name in mine[0]:
        a, b = (np.concatenate([np.ravel(o[name]) for o in side]).astype(np.float64) for side in (mine, theirs))
        noise = float(np.mean((a - b) ** 2))
        ratios[name] = 200.0 if not noise else float(20 * np.log10(max(np.abs(a).max(), 1e-12)) - 10 * np.log10(noise))
    return ratios
