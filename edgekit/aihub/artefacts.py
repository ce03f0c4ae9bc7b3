"""What AI Hub gives and takes, and what a package holds: one file that an engine opens."""

from __future__ import annotations

import zipfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from edgekit.aihub.hub import Hub
from edgekit.errors import RemoteError
from edgekit.package import Package
from edgekit.spec import DetectionSpec, TensorSpec

_TYPES = {
    "float32": TensorProto.FLOAT,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
}


def unpacked(path: Path, folder: Path) -> Path:
    """The .onnx in a downloaded archive, beside what belongs to it. Raises RemoteError when the
    archive is damaged (it carries checksums)."""
    try:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(folder)  # leaves out .. and absolute paths; checks each file
    except (zipfile.BadZipFile, OSError) as error:
        raise RemoteError(f"{path.name} from AI Hub is damaged", str(error), "run the same command again") from error
    files = [p for p in sorted(folder.rglob("*.onnx")) if p.is_file()]
    if len(files) != 1:
        raise RemoteError(f"{path.name} from AI Hub holds {len(files)} .onnx files, not one")
    return files[0]


def embedded(path: Path) -> bytes:
    """An .onnx as one file, its weights or its context inside."""
    model = onnx.load(path)
    for node in model.graph.node:
        values = {a.name: a for a in node.attribute}
        if node.op_type == "EPContext" and not values["embed_mode"].i:
            inside = (path.parent / values["ep_cache_context"].s.decode()).resolve()
            if path.parent.resolve() not in inside.parents:
                raise RemoteError(f"{path.name} from AI Hub names a file outside its folder")
            values["ep_cache_context"].s = inside.read_bytes()
            values["embed_mode"].i = 1
    return model.SerializeToString(deterministic=True)


def wrapped(context: bytes, graph: str, spec: DetectionSpec, qairt: str) -> bytes:
    """A bare context binary as ONNX Runtime opens it.

    https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html
    """
    node = helper.make_node(
        "EPContext",
        [spec.input.name],
        [o.name for o in spec.outputs],
        name=graph,
        domain="com.microsoft",
        main_context=1,
        embed_mode=1,
        ep_cache_context=context,
        source="QNNExecutionProvider",
        partition_name=graph,
        ep_sdk_version=qairt,
    )
    wrapper = helper.make_graph([node], graph, [_value(spec.input)], [_value(o) for o in spec.outputs])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(wrapper, opset_imports=opsets, ir_version=10).SerializeToString()


def upload(hub: Hub, package: Package, chip: str = "") -> str:
    """AI Hub's id of a package's artefact for `chip`, which is uploaded unless it came from there."""
    engine = package.manifest.engine
    name = engine.chips.get(chip, engine.artifact)
    data = package.read(name)
    return hub.model(
        package.manifest.files[name].sha256,
        f"{package.manifest.name}-{name}",
        lambda folder: for_upload(data, engine.name, folder),
    )


_FILES = {"litert": "model.tflite", "qnn-dlc": "model.dlc"}  # what AI Hub tells an engine's artefact by
_CONTEXTS = frozenset({"qnn"})  # engines whose .onnx names a context


def for_upload(artefact: bytes, engine: str, folder: Path) -> Path:
    """A package's artefact as AI Hub takes it: a context apart from the .onnx that names it."""
    if engine not in _CONTEXTS:
        return _written(folder / _FILES.get(engine, "model.onnx"), artefact)
    model = onnx.load_model_from_string(artefact)
    place = folder / "model.onnx"
    place.mkdir()
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "ep_cache_context":
                _written(place / "model.bin", attribute.s)
                attribute.s = b"model.bin"
            elif attribute.name == "embed_mode":
                attribute.i = 0
    _written(place / "model.onnx", model.SerializeToString(deterministic=True))
    return place


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _value(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.dtype], tensor.shape)
