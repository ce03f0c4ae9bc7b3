"""Compile jobs: from ONNX to what a device runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from edgekit_hub_emulator.artefacts import Specs, binary_of, load_onnx, pack_context, pack_onnx, specs
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.options import RUNTIMES, Options, target_runtime
from edgekit_hub_emulator.quantising import quantise
from edgekit_hub_emulator.reshaping import Quantised, folded, reshape, specify
from edgekit_hub_emulator.toolchain import log, versions

GRAPH, WRAPPER, ABOUT = "graph.onnx", "context.onnx", "about.json"  # kept for jobs that use the result
_QNN = ("qnn_dlc", "qnn_context_binary", "precompiled_qnn_onnx")
_OPTIMISE = "default_graph_htp_optimizations"


@dataclass(frozen=True)
class Compiled:
    file: Path
    metadata: dict[str, str]


@dataclass(frozen=True)
class Request:
    """What the functions below need besides the graph."""

    name: str  # of the model to make
    folder: Path
    device: Mapping[str, Any]
    qnn: dict[str, str]  # --qnn_options

    @property
    def graph_name(self) -> str:
        return self.qnn.get("context_enable_graphs", "default_graph")


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    model, options = job["models"][0], Options(job["options"])
    device = min(job["devices"], key=lambda d: d["htp"])  # what it takes, the others take
    runtime = options.text("target_runtime") or target_runtime("", device["system"], model["type"])
    if model["type"] == "QNN_CONTEXT_BINARY":
        return embed(job, folder)
    if runtime not in RUNTIMES:
        known = ", ".join(RUNTIMES)
        raise JobError(f"--target_runtime {runtime} is not one of {known}.", "INVALID_ARGUMENT")
    if model["type"] != "ONNX":
        raise JobError(f"The emulator compiles ONNX. {model['type']} models need the real AI Hub.")
    request = _check(options, runtime, job["target"], folder, device)
    graph = load_onnx(model, folder)
    if any(n.op_type == "EPContext" for n in graph.graph.node):
        raise JobError("The model is compiled already.", "MODEL_INVALID")
    graph = folded(graph)
    if runtime == "tflite" and any(n.op_type == "QuantizeLinear" for n in graph.graph.node):
        raise JobError("The emulator compiles float models for TFLite, not quantised ones.")
    specify(graph, job["specs"])
    full = options.text("quantize_full_type")
    if full and full != "float16":
        graph = _quantised(graph, full, runtime, job, folder)
    quantised = reshape(graph, options, runtime != "onnx")
    if options.rest():
        raise JobError(f"The emulator cannot honour --{options.rest()[0]}.", "INVALID_ARGUMENT")
    _try_on_cpu(graph)
    (folder / GRAPH).write_bytes(graph.SerializeToString())
    log(f"compiling for {runtime} on {device['name']}")
    compiled = _MAKERS[runtime](graph, request)
    (folder / ABOUT).write_text(
        json.dumps({"quantised": quantised, "device": dict(device), "graph_name": request.graph_name}), encoding="utf-8"
    )
    inputs, outputs = ends(graph, quantised)
    return {
        "file": str(compiled.file.relative_to(folder)),
        "metadata": compiled.metadata,
        "inputs": inputs,
        "outputs": outputs,
    }


def embed(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A context binary as an .onnx that names it."""
    wrapper = made_here(job["models"][0], WRAPPER)
    about = json.loads(made_here(job["models"][0], ABOUT).read_text(encoding="utf-8"))
    loaded = onnx.load(wrapper)
    for name in (GRAPH, WRAPPER, ABOUT):
        (folder / name).write_bytes(made_here(job["models"][0], name).read_bytes())
    device = about["device"]
    file = pack_context(loaded, job["target"], folder)
    inputs, outputs = ends(loaded, about["quantised"])
    return {"file": file.name, "metadata": _metadata(device, about["graph_name"]), "inputs": inputs, "outputs": outputs}


def made_here(model: Mapping[str, Any], name: str) -> Path:
    """A file that the job left behind which made this model. Raises JobError when there is none."""
    path = Path(model["producer"]) / name
    if not model["producer"] or not path.exists():
        raise JobError(
            f"The emulator can use this {model['type']} only if one of its own compile jobs made it: the "
            "file alone does not say enough. Compile with --target_runtime precompiled_qnn_onnx."
        )
    return path


def _check(options: Options, runtime: str, name: str, folder: Path, device: Mapping[str, Any]) -> Request:
    """Raises JobError for what cannot be honoured, before anything is done."""
    qairt = versions().get("QAIRT", "")
    version = options.text("qairt_version", "default")
    if runtime in _QNN and version not in ("default", "latest", qairt, ".".join(qairt.split(".")[:2])):
        raise JobError(f"The emulator has QAIRT {qairt} only, not {version}.", "INVALID_ARGUMENT")
    units = options.names("compute_unit") or ["all"]
    if runtime in _QNN and not {"all", "npu"} & set(units):
        raise JobError(f"The emulator simulates the NPU only, not {', '.join(units)}.")
    full = options.text("quantize_full_type")
    if full == "float16" and (runtime not in _QNN or not device["fp16"]):
        raise JobError(f"{device['name']} does not compute {runtime} in float16 here.")
    qnn = options.pairs("qnn_options")
    unknown = sorted(qnn.keys() - {"context_enable_graphs", _OPTIMISE})
    if unknown:
        raise JobError(f"The emulator cannot honour --qnn_options {unknown[0]}.")
    options.flag("truncate_64bit_tensors")  # the compiler always does
    return Request(name, folder, device, qnn)


def _quantised(graph: onnx.ModelProto, full: str, runtime: str, job: dict[str, Any], folder: Path) -> onnx.ModelProto:
    if runtime == "tflite":
        raise JobError("The emulator compiles float models for TFLite; it does not quantise them.")
    bits = {"int8": "int8", "w8a8": "int8", "int16": "int16", "w8a16": "int16"}.get(full)
    if not bits:
        raise JobError(f"The emulator cannot honour --quantize_full_type {full}.")
    if not job["dataset"]:
        raise JobError(f"--quantize_full_type {full} needs calibration_data.", "INVALID_ARGUMENT")
    return quantise(graph, folder / job["dataset"], bits)


def _try_on_cpu(graph: onnx.ModelProto) -> None:
    """Raises JobError for an invalid graph: ONNX Runtime's own kernels refuse it, Qualcomm's compiler may not."""
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    try:
        ort.InferenceSession(graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base class
        why = str(error).splitlines()[0][:300]
        raise JobError(f"The model is not valid: {why}", "MODEL_INVALID") from error


def ends(model: onnx.ModelProto, quantised: Quantised, label: str = "") -> tuple[Specs, Specs]:
    """The specs of a model's inputs and outputs."""
    weights = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights]
    return specs(inputs, quantised, label), specs(model.graph.output, quantised, label)


def _metadata(device: Mapping[str, Any], name: str) -> dict[str, str]:
    from edgekit_hub_emulator.qualcomm import metadata

    return metadata(device, [name], versions().get("QAIRT", ""))


def _onnx(graph: onnx.ModelProto, request: Request) -> Compiled:
    from edgekit.graph.simplify import simplify

    return Compiled(pack_onnx(simplify(graph, request.name), request.name, request.folder), {})


def _tflite(graph: onnx.ModelProto, request: Request) -> Compiled:
    from edgekit.graph.simplify import simplify
    from edgekit.tflite.lowering import lower

    path = request.folder / "model.tflite"
    path.write_bytes(lower(simplify(graph, request.name)).data)
    return Compiled(path, {})


def _context(graph: onnx.ModelProto, request: Request) -> onnx.ModelProto:
    from edgekit_hub_emulator.qualcomm import compile_graph

    level = request.qnn.get(_OPTIMISE, "O=3").partition("=")[2]
    wrapper = compile_graph(graph, request.device, {"htp_graph_finalization_optimization_mode": level})
    (request.folder / WRAPPER).write_bytes(wrapper.SerializeToString())
    return wrapper


def _precompiled(graph: onnx.ModelProto, request: Request) -> Compiled:
    file = pack_context(_context(graph, request), request.name, request.folder)
    return Compiled(file, _metadata(request.device, request.graph_name))


def _binary(graph: onnx.ModelProto, request: Request) -> Compiled:
    path = request.folder / "model.bin"
    path.write_bytes(binary_of(_context(graph, request)))
    return Compiled(path, _metadata(request.device, request.graph_name))


def _dlc(graph: onnx.ModelProto, request: Request) -> Compiled:
    from edgekit_hub_emulator.qualcomm import dump_dlc

    _context(graph, request)  # says what does not fit on the NPU; the dump would not
    return Compiled(dump_dlc(graph, request.device, request.folder), _metadata(request.device, request.graph_name))


_MAKERS: dict[str, Callable[[onnx.ModelProto, Request], Compiled]] = {
    "onnx": _onnx,
    "tflite": _tflite,
    "precompiled_qnn_onnx": _precompiled,
    "qnn_context_binary": _binary,
    "qnn_dlc": _dlc,
}
