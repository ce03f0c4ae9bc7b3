"""Several .tflite files as one with a signature for each, in which equal weights are stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.tflite.writer import pack, unpack

if TYPE_CHECKING:
    from ai_edge_litert import schema_py_generated as schema


def merge(files: Mapping[str, bytes]) -> bytes:
    """`files`: by the name that the signature gets; each has one graph with one signature."""
    models = {name: unpack(data) for name, data in files.items()}
    result = next(iter(models.values()))
    known: dict[bytes, int] = {}
    buffers, codes, graphs, signatures = list[Any](), list[Any](), list[Any](), list[Any]()
    for name, model in models.items():
        (graph,), (signature,) = model.subgraphs, model.signatureDefs
        places = [_place(b, buffers, known) for b in model.buffers]
        for tensor in graph.tensors:
            tensor.buffer = places[tensor.buffer]
        for operator in graph.operators:
            operator.opcodeIndex += len(codes)
        codes += model.operatorCodes
        signature.signatureKey, signature.subgraphIndex = name, len(graphs)
        graph.name = name
        graphs.append(graph)
        signatures.append(signature)
    result.buffers, result.operatorCodes = buffers, codes
    result.subgraphs, result.signatureDefs = graphs, signatures
    result.metadata = []  # each says something of its own buffers
    return pack(result)


def _place(buffer: schema.BufferT, buffers: list[schema.BufferT], known: dict[bytes, int]) -> int:
    """The index of this content in `buffers`, where it is added when it is new."""
    content = hashlib.sha256(b"" if buffer.data is None else buffer.data).digest()
    if content not in known:
        known[content] = len(buffers)
        buffers.append(buffer)
    return known[content]
