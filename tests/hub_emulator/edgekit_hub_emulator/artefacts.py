"""Files of models as AI Hub takes and gives them: .onnx alone, or zipped with what belongs to it."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto

from edgekit_hub_emulator.failure import JobError

_EPOCH = (1980, 1, 1, 0, 0, 0)
_DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.INT32: "int32",
    TensorProto.INT64: "int64",
    TensorProto.INT8: "int8",
    TensorProto.UINT8: "uint8",
    TensorProto.INT16: "int16",
    TensorProto.UINT16: "uint16",
    TensorProto.BOOL: "bool",
}

Specs = list[dict[str, Any]]


def onnx_path(model: Mapping[str, Any], folder: Path) -> Path:
    """Where the .onnx of an uploaded or made model lies, beside what belongs to it."""
    source = Path(model["path"])
    if not (model["directory"] or zipfile.is_zipfile(source)):
        return source
    unpacked = folder / f"model-{model['id']}"
    try:
        with zipfile.ZipFile(source) as archive:
            archive.extractall(unpacked)  # leaves out .. and absolute paths
    except Exception as error:  # zipfile's, zlib's, those of encrypted files
        raise JobError(f"Model {model['id']} is not a valid .zip file: {error}.", "MODEL_CORRUPT") from error
    if list(unpacked.rglob("*.encodings")):
        raise JobError("The emulator does not take AIMET encodings. Upload ONNX with QuantizeLinear nodes.")
    paths = list(unpacked.rglob("*.onnx"))
    files = [p for p in paths if p.is_file()]
    if len(files) != 1:
        raise JobError(f"Model {model['id']} must hold exactly one .onnx file.", "MODEL_INVALID")
    return files[0]


def load_onnx(model: Mapping[str, Any], folder: Path) -> onnx.ModelProto:
    """Loads a model with its weights inside."""
    path = onnx_path(model, folder)
    try:
        loaded = onnx.load(path)
        onnx.checker.check_model(loaded)
    except Exception as error:  # protobuf's, the checker's, those of missing files
        why = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise JobError(f"The ONNX model cannot be read: {why}", "MODEL_CORRUPT") from error
    if not loaded.graph.node:
        raise JobError("The ONNX model is empty.", "MODEL_CORRUPT")
    return loaded


def pack(name: str, files: Mapping[str, bytes | Path], out: Path) -> None:
    """A .zip of one folder; the same files give the same bytes."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for inner in sorted(files):
            content = files[inner]
            info = zipfile.ZipInfo(f"{name}/{inner}", _EPOCH)
            with archive.open(info, "w", force_zip64=True) as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, file)


def pack_onnx(model: onnx.ModelProto, name: str, folder: Path) -> Path:
    """model.onnx, its weights in model.data, as AI Hub gives them."""
    place = folder / "packing"
    place.mkdir()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # saving moves the weights of what it is given into the file
    onnx.save(copy, place / "model.onnx", save_as_external_data=True, location="model.data")
    out = folder / "model.onnx.zip"
    pack(f"{name}.onnx", {p.name: p for p in place.iterdir()}, out)
    return out


def pack_context(wrapper: onnx.ModelProto, name: str, folder: Path) -> Path:
    """model.onnx with one EPContext node, and the binary that it names."""
    split = onnx.ModelProto()
    split.CopyFrom(wrapper)
    binary = b""
    for item in context_node(split).attribute:
        if item.name == "ep_cache_context":
            binary, item.s = item.s, b"model.bin"
        elif item.name == "embed_mode":
            item.i = 0
    out = folder / "model.onnx.zip"
    pack(f"{name}.onnx", {"model.onnx": split.SerializeToString(), "model.bin": binary}, out)
    return out


def context_node(model: onnx.ModelProto) -> onnx.NodeProto:
    """Raises JobError when there is none."""
    for node in model.graph.node:
        if node.op_type == "EPContext":
            return node
    raise JobError("The model has no EPContext node.", "MODEL_INVALID")


def binary_of(wrapper: onnx.ModelProto) -> bytes:
    return bytes(next(a.s for a in context_node(wrapper).attribute if a.name == "ep_cache_context"))


def specs(values: Any, quantised: Mapping[str, tuple[float, int]] | None = None, graph: str = "") -> Specs:
    """Inputs or outputs of a graph. `quantised`: scales and zero points of those that are integers."""
    rows = []
    for value in values:
        kind = value.type.tensor_type
        spec: dict[str, Any] = {
            "name": value.name,
            "dtype": dtype(kind.elem_type),
            "shape": [d.dim_value for d in kind.shape.dim],
        }
        if quantised and value.name in quantised:
            spec["scale"], spec["zero_point"] = quantised[value.name]
        if graph:
            spec["graph"] = graph
        rows.append(spec)
    return rows


def dtype(kind: int) -> str:
    if kind not in _DTYPES:
        raise JobError(f"Tensors of type {TensorProto.DataType.Name(kind)} cannot go in or out.")
    return _DTYPES[kind]
