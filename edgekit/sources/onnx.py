"""Source: any ONNX detector. What its outputs mean is settled later, by `graph.decoders`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.model import Model, SourceInfo
from edgekit.sources.base import SourceOptions
from edgekit.sources.files import existing_file, sha256

if TYPE_CHECKING:
    import onnx


class OnnxSource:
    name = "onnx"

    def matches(self, path: str) -> bool:
        return Path(path).suffix.lower() == ".onnx"

    def files(self, path: str) -> list[Path]:
        file = existing_file(path)
        graph = _load(file, external=False)
        outside = {
            entry.value
            for tensor in graph.graph.initializer
            for entry in tensor.external_data
            if entry.key == "location"
        }
        return [file, *(existing_file(str(file.parent / name)) for name in sorted(outside))]

    def read(self, path: str, options: SourceOptions) -> Model:
        file = existing_file(path)
        graph = _load(file, external=True)
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
        return Model(file.stem, graph, None, info, metadata)


def _load(file: Path, external: bool) -> onnx.ModelProto:
    import onnx

    try:
        graph = onnx.load(str(file), load_external_data=external)
        if external:
            onnx.checker.check_model(graph)
        return graph
    except Exception as error:  # protobuf, checker and file errors share no base class
        raise SourceError(
            f"{file.name} is not an ONNX model, or it is truncated",
            str(error).strip().splitlines()[0][:200] if str(error).strip() else repr(error),
            "download or copy it again; a file with external data needs its data file beside it",
        ) from error
