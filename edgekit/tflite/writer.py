"""Write a TFLite flatbuffer: tensors, constants and operators of one graph, in the order given.

The format is schema.fbs of TensorFlow Lite, through the classes that LiteRT generates from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


Array = np.ndarray[Any, Any]

SIGNATURE = "serving_default"
_TYPES = {
    np.dtype(name): getattr(schema.TensorType, name.upper())
    for name in ("float32", "float16", "int32", "uint8", "int64", "bool", "int16", "int8")
}


class Writer:
    """One graph under construction. Tensors are named by their index."""

    def __init__(self) -> None:
        self._model = schema.ModelT()
        self._model.version = 3
        self._model.description = "edgekit"
        self._model.buffers = [_buffer(None)]  # by convention the first is empty
        self._model.operatorCodes = []
        self._model.metadata = []
        self._graph = schema.SubGraphT()
        self._graph.name = "main"
        self._graph.tensors, self._graph.operators = [], []
        self._model.subgraphs = [self._graph]
        self._codes: dict[int, int] = {}
        self._constants: dict[tuple[Any, ...], int] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: DTypeLike, buffer: int = 0) -> int:
        record = schema.TensorT()
        record.name, record.type, record.buffer = name, _TYPES[np.dtype(dtype)], buffer
        record.shape = np.asarray(shape, np.int32)
        self._graph.tensors.append(record)
        return len(self._graph.tensors) - 1

    def constant(self, value: Array) -> int:
        """A tensor that holds `value`. Equal integers share one; weights do not, as quantising
        gives each its own scale."""
        value = np.asarray(value, order="C")
        key = (value.dtype, value.shape, value.tobytes())
        if value.dtype.kind == "f" or key not in self._constants:
            self._model.buffers.append(_buffer(value))
            index = len(self._model.buffers) - 1
            self._constants[key] = self.tensor(f"constant_{index}", value.shape, value.dtype, index)
        return self._constants[key]

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: object = None) -> None:
        """`kind` is a name of BuiltinOperator, `options` the schema's options object for it."""
        record = schema.OperatorT()
        record.opcodeIndex = self._code(getattr(schema.BuiltinOperator, kind))
        record.inputs = np.asarray(inputs, np.int32)
        record.outputs = np.asarray(outputs, np.int32)
        if options is not None:
            union = type(options).__name__.removesuffix("T")
            record.builtinOptionsType = getattr(schema.BuiltinOptions, union)
            record.builtinOptions = options
        self._graph.operators.append(record)

    def rename(self, tensor: int, name: str) -> None:
        self._graph.tensors[tensor].name = name

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file, with a signature that names each input and output by its tensor."""
        self._graph.inputs = np.asarray(inputs, np.int32)
        self._graph.outputs = np.asarray(outputs, np.int32)
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        signature.inputs = [self._named(i) for i in inputs]
        signature.outputs = [self._named(o) for o in outputs]
        self._model.signatureDefs = [signature]
        return pack(self._model)

    def _named(self, tensor: int) -> schema.TensorMapT:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self._graph.tensors[tensor].name, tensor
        return entry

    def _code(self, builtin: int) -> int:
        if builtin not in self._codes:
            code = schema.OperatorCodeT()
            # readers from before 2020 look at the first field, which holds no more than 127
            code.deprecatedBuiltinCode, code.builtinCode = min(builtin, 127), builtin
            code.version = 1
            self._codes[builtin] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[builtin]


def _buffer(value: Array | None) -> schema.BufferT:
    buffer = schema.BufferT()
    buffer.data = None if value is None else np.frombuffer(value.tobytes(), np.uint8)
    return buffer


class _Builder(flatbuffers.Builder):  # type: ignore[misc]
    def StartVector(self, size: int, count: int, alignment: int) -> int:  # noqa: N802
        # The schema asks for weights to lie at multiples of 16, which the generated code forgets.
        return super().StartVector(size, count, 16 if size == 1 else alignment)


def pack(model: schema.ModelT) -> bytes:
    """A ModelT as the bytes of a .tflite file."""
    size = sum(0 if b.data is None else len(b.data) for b in model.buffers)
    builder = _Builder(size + 2**20)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def unpack(data: bytes) -> schema.ModelT:
    """The ModelT of a .tflite file, to look at or to change.

    Weights that lie behind the flatbuffer, where files above 2 GB have them, come inside.
    """
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(data, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model
