"""Sessions on Qualcomm's compiler and simulator that edgekit itself has no use for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from edgekit.runtime.engines.libraries import onnxruntime as library
from edgekit.runtime.engines.qnn import provider
from edgekit.target import Chip
from edgekit_hub_emulator.failure import JobError


def chip_of(device: Mapping[str, Any]) -> Chip:
    return Chip(device["soc"], device["soc_id"], device["htp"], device["fp16"])


def compile_graph(graph: onnx.ModelProto, device: Mapping[str, Any], options: Mapping[str, str]) -> onnx.ModelProto:
    """The .onnx that holds the context. The one place that knows how edgekit compiles."""
    from edgekit.qnn.context import compile_context

    data = compile_context(graph, chip_of(device), None, options)
    return onnx.load_model_from_string(data)


def session(model: bytes | Path, settings: Mapping[str, str], options: Mapping[str, str]) -> Any:
    """Everything on the NPU, or an exception of onnxruntime's."""
    ort = library()
    session_options = ort.SessionOptions()
    session_options.log_severity_level = 3
    session_options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    for key, value in settings.items():
        session_options.add_session_config_entry(key, value)
    session_options.add_provider_for_devices([provider()], {"backend_type": "htp", **options})
    return ort.InferenceSession(str(model) if isinstance(model, Path) else model, session_options)


def dump_dlc(graph: onnx.ModelProto, device: Mapping[str, Any], folder: Path) -> Path:
    """The graph as Qualcomm's own file format. The provider writes it, then fails to go on."""
    place = folder / "dlc"
    place.mkdir()
    settings = {"ep.context_enable": "1", "ep.context_file_path": str(place / "unused.onnx")}
    options = {
        "soc_model": str(device["soc_id"]),
        "htp_arch": str(device["htp"]),
        "dump_qnn_ir_dlc": "1",
        "dump_qnn_ir_dlc_dir": str(place),
    }
    why = ""
    try:
        session(graph.SerializeToString(), settings, options)
    except Exception as error:  # onnxruntime's exceptions share no base class
        why = str(error).splitlines()[0][-300:]
    files = sorted(place.glob("*.dlc"))
    if len(files) != 1:
        raise JobError(f"Qualcomm's converter wrote {len(files)} DLCs, not one. {why}".strip(), "QNN_TOOL_ERROR")
    return files[0]


def link(graphs: Sequence[onnx.ModelProto], device: Mapping[str, Any], folder: Path) -> bytes:
    """One binary of several graphs that share what is equal in them."""
    place = folder / "linked"
    place.mkdir()
    options = {"soc_model": str(device["soc_id"]), "htp_arch": str(device["htp"])}
    sessions = []  # until the last is compiled, which writes the binary
    for index, graph in enumerate(graphs):
        settings = {
            "ep.context_enable": "1",
            "ep.context_embed_mode": "0",
            "ep.share_ep_contexts": "1",
            "ep.context_file_path": str(place / f"{index}.onnx"),
            **({"ep.stop_share_ep_contexts": "1"} if index == len(graphs) - 1 else {}),
        }
        try:
            sessions.append(session(graph.SerializeToString(), settings, options))
        except Exception as error:  # onnxruntime's exceptions share no base class
            why = str(error).splitlines()[0][-300:]
            raise JobError(f"The emulator cannot link these models: {why}", "QNN_TOOL_ERROR") from error
    binaries = sorted(place.glob("*.bin"))
    if len(graphs) == 1:
        return binaries[0].read_bytes()
    if len(binaries) != 1:
        raise JobError(f"Linking made {len(binaries)} binaries, not one.", "QNN_TOOL_ERROR")
    return binaries[0].read_bytes()


def architecture(wrapper: onnx.ModelProto) -> int:
    """The Hexagon version a context was compiled for; 0 when it does not say."""
    for item in wrapper.metadata_props:
        parts = item.value.split(":")
        if item.key.startswith("ep_compatibility_info") and len(parts) > 5 and parts[4].isdigit():
            return int(parts[4])
    return 0


def metadata(device: Mapping[str, Any], names: Sequence[str], qairt: str) -> dict[str, str]:
    return {
        "QAIRT_SDK_VERSION": qairt,
        "QNN_MODEL_GRAPH_NAMES": ",".join(names),
        "QNN_CONTEXT_BIN_BACKEND": "HTP",
        "QNN_CONTEXT_BIN_HEXAGON_VERSION": f"v{device['htp']}",
        "QNN_CONTEXT_BIN_SOC_MODEL": str(device["soc_id"]),
    }


def renamed(graph: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """A copy in which everything inside has names of its own: graphs in one context share a space."""
    copy = onnx.ModelProto()
    copy.CopyFrom(graph)
    outside = {v.name for v in (*copy.graph.input, *copy.graph.output)}
    for index, node in enumerate(copy.graph.node):
        node.name = f"{prefix}/{index}/{node.name}"
        for names in (node.input, node.output):
            names[:] = [n if n in outside or not n else f"{prefix}/{n}" for n in names]
    for tensor in copy.graph.initializer:
        tensor.name = tensor.name if tensor.name in outside else f"{prefix}/{tensor.name}"
    return copy
