"""Inference jobs: a model on the data given, or on noise, and a profile of it on this machine.

What a phone's NPU would run goes through Qualcomm's simulator: right in numbers; its time is this
machine's, as are all times here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from edgekit.devices.launch import peak_memory
from edgekit_hub_emulator.artefacts import load_onnx, onnx_path
from edgekit_hub_emulator.compiling import ABOUT, GRAPH, WRAPPER, made_here
from edgekit_hub_emulator.datasets import read_npz, write_npz
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.options import Options
from edgekit_hub_emulator.quantising import check
from edgekit_hub_emulator.sessions import Loaded, OnnxModel, QnnModel, TfliteModel
from edgekit_hub_emulator.toolchain import log

_SECONDS = 10.0  # a profile takes no longer, whatever the options say
_TUNING = ("qnn_options", "tflite_options", "onnx_options", "tflite_delegates", "qairt_version")


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    options = Options(job["options"])
    iterations = options.number("max_profiler_iterations", 100)
    seconds = min(options.number("max_profiler_time", 600), _SECONDS)
    graph_name = options.pairs("qnn_options").get("context_enable_graphs", "")
    dequantise = options.flag("dequantize_outputs", True)
    units = options.names("compute_unit") or ["all"]
    providers = options.names("onnx_execution_providers")
    for name in _TUNING:  # they do not change what is computed
        options.text(name)
    if options.rest():
        raise JobError(f"The emulator cannot honour --{options.rest()[0]}.", "INVALID_ARGUMENT")
    opened = _opener(job, folder, graph_name, "qnn" in providers or units == ["npu"], units)
    before = peak_memory()
    loads, model = _timed_loads(opened)
    entries = read_npz(folder / job["dataset"]) if job["dataset"] else None
    feeds = _feeds(model, entries)
    log(f"running {len(feeds)} samples through {model.kind}")
    outputs, times = [], []
    end = time.perf_counter() + seconds
    rounds = max(1, iterations // len(feeds)) if job["profile"] else 1
    for index in range(rounds):
        if index and time.perf_counter() > end:
            break
        for feed in feeds:
            start = time.perf_counter()
            values = model.run(feed)
            times.append(time.perf_counter() - start)
            if not index:
                outputs.append(_output_arrays(values, model, dequantise))
    result: dict[str, Any] = {"inputs": model.inputs}
    if entries is not None:
        write_npz({n: [o[n] for o in outputs] for n in outputs[0]}, folder / "outputs.npz")
        result["dataset"] = "outputs.npz"
    if job["profile"]:
        result["detail"] = _profile(model, loads, times, before)
    return result


def _opener(job: dict[str, Any], folder: Path, graph_name: str, on_npu: bool, units: list[str]) -> Callable[[], Loaded]:
    """How the model is opened; a model that is not for the device raises JobError here."""
    model, device = job["models"][0], job["devices"][0]
    if model["type"] == "TFLITE":
        return lambda: TfliteModel(Path(model["path"]).read_bytes())
    if model["type"] == "ONNX":
        path = onnx_path(model, folder)
        shown = onnx.load(path, load_external_data=False)
        if any(n.op_type == "EPContext" for n in shown.graph.node):
            _needs_npu(units)
            made_by = Path(model["producer"]) / ABOUT if model["producer"] else None
            facts = json.loads(made_by.read_text(encoding="utf-8")) if made_by and made_by.exists() else {}
            quantised = facts.get("quantised", {})
            return lambda: QnnModel(path, device, folder, quantised)
        if on_npu:
            return _compiled(load_onnx(model, folder), device, folder, {})
        log("ONNX Runtime runs this on this machine's CPU")
        return lambda: OnnxModel(path, folder)
    if model["type"] == "QNN_CONTEXT_BINARY":
        _needs_npu(units)
        linked = Path(model["producer"]) / "graphs" if model["producer"] else None
        if linked and linked.is_dir():
            about = _linked(linked, graph_name)
            log("the simulator does not load linked binaries: running the graph compiled on its own")
            graph = onnx.load(Path(about["from"]) / GRAPH)
            return _compiled(graph, device, folder, about["quantised"])
        wrapper = made_here(model, WRAPPER)
        quantised = json.loads(made_here(model, ABOUT).read_text(encoding="utf-8"))["quantised"]
        return lambda: QnnModel(wrapper, device, folder, quantised)
    if model["type"] == "QNN_DLC":
        _needs_npu(units)
        about = json.loads(made_here(model, ABOUT).read_text(encoding="utf-8"))
        log("a DLC is compiled on its device: compiling the graph it was made of")
        return _compiled(onnx.load(made_here(model, GRAPH)), device, folder, about["quantised"])
    raise JobError(f"The emulator does not run {model['type']} models.")


def _needs_npu(units: list[str]) -> None:
    if not {"all", "npu"} & set(units):
        raise JobError(f"The emulator simulates the NPU only, not {', '.join(units)}.")


def _linked(folder: Path, graph_name: str) -> dict[str, Any]:
    graphs = [json.loads(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]
    if len(graphs) == 1 and not graph_name:
        return dict(graphs[0])
    for about in graphs:
        if about["graph_name"] == graph_name:
            return dict(about)
    names = ", ".join(a["graph_name"] for a in graphs)
    raise JobError(f"Choose a graph with --qnn_options context_enable_graphs=NAME, of {names}.", "INVALID_ARGUMENT")


def _compiled(graph: onnx.ModelProto, device: Any, folder: Path, quantised: Any) -> Callable[[], Loaded]:
    def opened() -> Loaded:
        from edgekit_hub_emulator.qualcomm import compile_graph

        path = folder / "compiled.onnx"
        start = time.perf_counter()
        path.write_bytes(compile_graph(graph, device, {}).SerializeToString())
        return QnnModel(path, device, folder, quantised, time.perf_counter() - start)

    return opened


def _timed_loads(opened: Callable[[], Loaded]) -> tuple[list[float], Loaded]:
    """The seconds that a first load takes, and a second one."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        model = opened()
        times.append(time.perf_counter() - start - model.compiled_in)
    return times, model


def _feeds(model: Loaded, entries: dict[str, list[Any]] | None) -> list[dict[str, Any]]:
    if entries is None:
        return [{s["name"]: _noise(s) for s in model.inputs}]
    for spec in model.inputs:  # floats for an input of integers are quantised as the model says
        samples = entries.get(spec["name"], [])
        if spec.get("scale") and samples and samples[0].dtype == np.float32:
            limits = np.iinfo(spec["dtype"])
            entries[spec["name"]] = [
                np.clip(np.rint(s / spec["scale"]) + spec["zero_point"], limits.min, limits.max).astype(spec["dtype"])
                for s in samples
            ]
    check(entries, model.inputs)
    count = len(next(iter(entries.values())))
    if not count:
        raise JobError("The dataset is empty.", "INVALID_INPUTS")
    return [{n: v[i] for n, v in entries.items()} for i in range(count)]


def _noise(spec: dict[str, Any]) -> Any:
    generator, kind = np.random.default_rng(0), np.dtype(spec["dtype"])
    shape = [max(d, 1) for d in spec["shape"]]
    if kind.kind == "f":
        return generator.random(shape).astype(kind)
    if kind.kind == "b" or kind.itemsize > 2:
        return generator.integers(0, 2, shape).astype(kind)  # larger ones are most often indices
    limits = np.iinfo(kind)
    return generator.integers(limits.min, limits.max, shape, kind, True)


def _output_arrays(values: dict[str, Any], model: Loaded, dequantise: bool) -> dict[str, Any]:
    """The outputs of the job: integers become the numbers they stand for where `dequantise` is set."""
    result = {}
    for spec in model.outputs:
        value = np.array(values[spec["name"]])
        if dequantise and spec.get("scale"):
            value = ((value.astype(np.float32) - spec["zero_point"]) * np.float32(spec["scale"])).astype(np.float32)
        result[spec["name"]] = value
    return result


def _profile(model: Loaded, loads: list[float], times: list[float], before: int) -> dict[str, Any]:
    """Microseconds and bytes, named as the protocol names them."""
    micro = [max(1, round(t * 1e6)) for t in times]
    cold, warm = (max(1, round(t * 1e6)) for t in loads)
    compile_time = round(model.compiled_in * 1e6)
    peak = peak_memory()
    layers = model.layers()
    if not layers:
        layers = [{"name": model.kind, "type": "Model", "unit": model.unit}]
    return {
        "execution_time": round(median(micro)),
        "all_execution_times": micro,
        "cold_load_time": cold,
        "all_cold_load_times": [cold],
        "warm_load_time": warm,
        "all_warm_load_times": [warm],
        "load_time": warm,
        "compile_time": compile_time,
        "all_compile_times": [compile_time] if compile_time else [],
        "peak_memory_usage": peak,
        "after_execution_peak_memory": peak,
        "after_cold_load_peak_memory": peak,
        "after_warm_load_peak_memory": peak,
        "after_compile_peak_memory": peak if compile_time else 0,
        "memory": {stage: [min(before, peak), peak] for stage in ("cold_load", "warm_load", "execution")},
        "layers": layers,
    }
