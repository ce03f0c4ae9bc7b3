"""Source: any ONNX detector. What its outputs mean is settled later, by `graph.decoders`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.model import GraphModel, SourceInfo
from edgekit.package.contents.onnx_references import WireError, external_tensors
from edgekit.sources.base import SourceOptions
from edgekit.sources.files import contained, existing_file, sha256

if TYPE_CHECKING:
    import onnx

_SHARED = 4  # times that bytes of a data file may be used: tied weights are


class OnnxSource:
    name = "onnx"
    form = GraphModel.form
    task = "detection"

    def matches(self, path: str) -> bool:
        return Path(path).suffix.lower() == ".onnx"

    def files(self, path: str) -> list[Path]:
        file = existing_file(path)
        return [file, *_beside(file)]

    def read(self, path: str, options: SourceOptions, into: Path) -> GraphModel:
        file = existing_file(path)
        graph = _load(file)
        if not graph.graph.node:
            raise SourceError(f"{file.name} is an ONNX model without any operation")
        metadata = {p.key: p.value for p in graph.metadata_props}
        info = SourceInfo(
            kind=self.name,
            name=file.name,
            sha256=sha256(file),
            bytes=file.stat().st_size,
            licence=metadata.get("license") or metadata.get("licence") or "",
            layout=f"ONNX opset {max((o.version for o in graph.opset_import), default=0)}"
            + (f" from {graph.producer_name}" if graph.producer_name else ""),
        )
        return GraphModel(file.stem, graph, None, info, metadata)


def _beside(file: Path) -> list[Path]:
    """The files that tensors lie in. Raises UnsafeSourceError for a place outside the model's folder, before
    anything there is opened; SourceError where tensors would unfold to more than the files hold."""
    try:
        tensors = external_tensors(file.read_bytes())
    except WireError as error:
        raise _malformed(file, str(error)) from error
    names = sorted({t.file for t in tensors})
    files = [contained(file.parent, name) for name in names]
    missing = [f for f in files if not f.is_file()]
    if missing:
        raise SourceError(
            f"{missing[0].name} is missing, which holds weights of {file.name}",
            f"{len(missing)} of {len(files)} files are",
            "copy all its files into one folder, under the names they had",
        )
    held = sum(f.stat().st_size for f in files)
    if sum(max(t.bytes, 0) for t in tensors) > _SHARED * held:
        raise SourceError(
            f"{file.name} unfolds to more than its files hold",
            "many of its tensors lie in the same place",
            "export it again",
        )
    whole = [t for t in tensors if t.bytes < 0]
    if len(whole) > _SHARED * len(files):
        raise SourceError(f"{file.name} does not say how long its tensors are", "", "export it again")
    return files


def _load(file: Path) -> onnx.ModelProto:
    import onnx

    _beside(file)
    try:
        graph = onnx.load(str(file))
    except Exception as error:  # protobuf and file errors share no base class
        raise _malformed(file, _reason(error)) from error
    if graph.graph.node and graph.ir_version > onnx.IR_VERSION:
        raise SourceError(
            f"{file.name} was written by a newer ONNX than the one installed",
            f"its form (IR) is {graph.ir_version}, and onnx {onnx.__version__} reads {onnx.IR_VERSION} at most",
            "install a newer onnx, or export the model in an older form",
        )
    try:
        onnx.checker.check_model(graph)
    except Exception as error:  # nor do the checker's
        if not graph.graph.node:
            raise _malformed(file, _reason(error)) from error
        raise SourceError(
            f"{file.name} breaks a rule of ONNX, or it is truncated",
            _reason(error),
            "export it again with a current exporter; a file with external data needs its data file beside it",
        ) from error
    return graph


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error)


def _malformed(file: Path, why: str) -> SourceError:
    return SourceError(
        f"{file.name} is not an ONNX model, or it is truncated",
        why,
        "download or copy it again; a file with external data needs its data file beside it",
    )
