"""The state of one lowering to TFLite: what has been written, and in which tensor each ONNX value is.

Functions in `edgekit.tflite.operators` read and change it. Values keep their own order of axes
(`edgekit.tflite.layout`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import ConversionError, SourceError
from edgekit.graph.view import GraphView
from edgekit.tflite.layout import (
    CHANNELS_LAST,
    Order,
    Stored,
    arrange,
    between,
    collapsed,
    identity,
    moves_nothing,
    reshaped,
)
from edgekit.tflite.writer import Writer

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, DTypeLike


Array = np.ndarray[Any, Any]
DType = np.dtype[np.generic]
Handler = Callable[["Lowering", onnx.NodeProto], None]

HANDLERS: dict[str, Handler] = {}
_AS = {"int64": "int32", "float64": "float32", "float16": "float32"}  # what TFLite computes on instead
_NARROWED = {np.dtype(a): np.dtype(b) for a, b in _AS.items()}
_FIX_SHAPES = "export it with fixed sizes and without suppression, or pass --image-size"
_LONGEST_TRANSPOSE = 6  # dimensions, in every TFLite runtime
_STORED = frozenset(np.dtype(n) for n in ("float32", "int32", "uint8", "int8", "int16", "bool"))


def lowers(*kinds: str) -> Callable[[Handler], Handler]:
    """Registers a function that writes these ONNX operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


@dataclass(frozen=True)
class Lowered:
    """`inputs` and `outputs`: each tensor's shape in the file; names are those of the ONNX graph."""

    data: bytes
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]


class Lowering:
    """The state of one conversion: what has been written, and where each ONNX value is."""

    def __init__(
        self, model: onnx.ModelProto, images: Collection[str], names: Mapping[str, str], ids: Collection[str]
    ) -> None:
        self.view = GraphView(model)
        self.writer = Writer()
        self.node = onnx.NodeProto()
        self.done: set[str] = set()  # values of nodes that were written together with an earlier one
        self._names, self._images, self._ids = names, images, ids
        self._values: dict[str, Stored] = {}
        self._moved: dict[tuple[int, Order], int] = {}  # by tensor and how it is permuted
        self._inputs: dict[str, tuple[int, ...]] = {}
        self._temporaries: Counter[str] = Counter()
        self._written: dict[int, str] = {}  # tensors that an operator computes, and their names

    def read_input(self, name: str) -> None:
        """Makes a tensor of the file for an input of the graph."""
        shape, dtype = self.shape(name), self.view.types[name]
        if dtype not in (onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8) and name not in self._ids:
            kind = onnx.TensorProto.DataType.Name(dtype).lower()
            raise SourceError(
                f"The input {name} is {kind}, and TFLite packages take float32 images",
                "",
                "export the model with a float32 image as its only input",
            )
        order = CHANNELS_LAST if name in self._images else identity(len(shape))
        stored = arrange(shape, order)
        tensor = self.writer.tensor(name, stored, self.dtype(name))
        self._values[name] = Stored(tensor, order)
        self._inputs[name] = stored

    def finish(self) -> Lowered:
        """Gives each output its own name and its own tensor, which is neither input nor constant."""
        shapes, tensors = dict[str, tuple[int, ...]](), list[int]()
        for name in self.view.outputs:
            self.node = self.view.producers.get(name, self.node)
            shapes[name] = shape = self.shape(name)
            tensor = self.take(name, identity(len(shape)))
            if tensor in tensors or tensor not in self._written:
                tensor = self.reshape(tensor, shape, self.dtype(name))
            inner = self._values[name].tensor if name in self._values else tensor
            if inner != tensor and self._written.get(inner) == name:
                self.writer.rename(inner, f"{name}/inner")
            tensors.append(tensor)
        for name, tensor in zip(shapes, tensors):
            self.writer.rename(tensor, name)
        inputs = [self._values[n].tensor for n in self._inputs]
        return Lowered(self.writer.finish(inputs, tensors), self._inputs, shapes)

    # What is known of ONNX values

    def shape(self, name: str) -> tuple[int, ...]:
        shape = self.view.shapes.get(name)
        if shape is None or min(shape, default=1) < 0:
            raise self.cannot(f"the shape of {name} is not fixed", _FIX_SHAPES)
        return shape

    def rank(self, name: str) -> int:
        return len(self.shape(name))

    def dtype(self, name: str) -> DType:
        self.shape(name)  # where inference gave up, there is no type either
        constant = self.view.constants.get(name)
        code = self.view.types[name] if constant is None else constant.data_type
        kind = onnx.helper.tensor_dtype_to_np_dtype(code)
        kind = _NARROWED.get(kind, kind)
        if kind not in _STORED:
            raise self.cannot(f"TFLite does not compute on {kind}")
        return kind

    def constant(self, name: str) -> Array | None:
        """The value of an initializer in TFLite's types, or None for what is computed."""
        value = self.view.array(name) if name else None
        if value is None:
            return None
        if value.dtype == np.int64:  # slices say "to the end" with the largest int64
            value = value.clip(-(2**31), 2**31 - 1)
        return value.astype(_NARROWED.get(value.dtype, value.dtype))

    def fixed(self, position: int, what: str) -> Array:
        """The input at `position` of the current node, which must be a constant."""
        value = self.constant(self.node.input[position])
        if value is None:
            raise self.cannot(f"its {what} is computed, and must be known beforehand")
        return value

    def order(self, name: str) -> Order:
        """The order in which a value is stored; a constant can be stored in any order, and takes ONNX's own."""
        return identity(self.rank(name)) if name in self.view.constants else self._values[name].order

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return self.view.consumers.get(name, [])

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a value, unless the value also leaves the graph."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and name not in self.view.outputs else None

    # Reading and writing tensors

    def take(self, name: str, order: Order | None = None) -> int:
        """The tensor of an ONNX value, stored in `order` (None: as it lies)."""
        value = self.constant(name)
        if value is not None:
            return self.writer.constant(value if order is None else value.transpose(order))
        stored = self._values[name]
        if order is None or order == stored.order:
            return stored.tensor
        # not by the order itself: values that share a tensor number their axes differently
        key = (stored.tensor, between(stored.order, order))
        if key not in self._moved:
            shape, dtype = self.shape(name), self.dtype(name)
            self._moved[key] = self._arranged(stored.tensor, shape, stored.order, order, dtype)
        return self._moved[key]

    def _arranged(self, tensor: int, shape: Sequence[int], have: Order, want: Order, dtype: DTypeLike) -> int:
        stored, result, moves = arrange(shape, have), arrange(shape, want), between(have, want)
        if moves_nothing(shape, have, want):
            return tensor if stored == result else self.reshape(tensor, result, dtype)
        if len(shape) <= _LONGEST_TRANSPOSE:
            inputs = [tensor, self.ints(moves)]
            return self.temporary("TRANSPOSE", inputs, result, dtype, schema.TransposeOptionsT())
        sizes, moves = collapsed(stored, moves)
        tensor = self.reshape(tensor, sizes, dtype)
        straight = identity(len(sizes))
        return self.reshape(self._arranged(tensor, sizes, straight, moves, dtype), result, dtype)

    def put(self, name: str, kind: str, inputs: Sequence[int], order: Order, options: object = None) -> None:
        """Write one operator whose result is the ONNX value `name`, stored in `order`."""
        self.put_all([name], kind, inputs, order, options)

    def put_all(
        self, names: Sequence[str], kind: str, inputs: Sequence[int], order: Order, options: object = None
    ) -> None:
        tensors = []
        for name in names:
            tensors.append(self.writer.tensor(name, arrange(self.shape(name), order), self.dtype(name)))
            self._values[name], self._written[tensors[-1]] = Stored(tensors[-1], order), name
        self.writer.operator(kind, inputs, tensors, options)

    def temporary(
        self,
        kind: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        dtype: DTypeLike = np.float32,
        options: object = None,
    ) -> int:
        """Write one operator whose result is no ONNX value; returns its tensor."""
        self._temporaries[self.node.name] += 1
        name = f"{self.node.name}/{kind.lower()}_{self._temporaries[self.node.name]}"
        tensor = self.writer.tensor(name, shape, dtype)
        self._written[tensor] = name
        self.writer.operator(kind, inputs, [tensor], options)
        return tensor

    def alias(self, name: str, tensor: int, order: Order) -> None:
        """Records that the ONNX value `name` is a tensor that exists already."""
        self._values[name] = Stored(tensor, order)

    def reshape(self, tensor: int, shape: Sequence[int], dtype: DTypeLike = np.float32) -> int:
        return self.temporary("RESHAPE", [tensor, self.ints(shape)], shape, dtype, _new_shape(shape))

    def put_reshaped(self, source: str, name: str) -> None:
        """The ONNX value `name` holds the values of `source` in ONNX order, in another shape."""
        target = self.shape(name)
        have, order = reshaped(self.shape(source), self.order(source), target)
        to = arrange(target, order)
        self.put(name, "RESHAPE", [self.take(source, have), self.ints(to)], order, _new_shape(to))

    def ints(self, values: ArrayLike) -> int:
        return self.writer.constant(np.asarray(values, np.int32))

    def floats(self, values: ArrayLike) -> int:
        return self.writer.constant(np.asarray(values, np.float32))

    # Values that meet

    def common_order(self, names: Sequence[str], rank: int) -> Order:
        """The order in which values of one operator meet: that of the largest computed one."""
        computed = [n for n in names if n not in self.view.constants and self.rank(n) == rank]
        if not computed:
            return identity(rank)
        return self.order(max(computed, key=lambda n: math.prod(self.shape(n))))

    def broadcast(self, name: str, order: Order, dtype: DTypeLike | None = None) -> int:
        """A tensor for an operand that ONNX broadcasts from the right, stored in `order`.

        dtype: what a constant becomes, where ONNX lets types differ.
        """
        rank, own = len(order), self.rank(name)
        value = self.constant(name)
        if value is not None:
            value = value.reshape((1,) * (rank - own) + value.shape).transpose(order)
            return self.writer.constant(value.astype(dtype or value.dtype))
        if own == rank:
            return self.take(name, order)
        padded = (1,) * (rank - own) + self.shape(name)
        lies = (*range(rank - own), *(a + rank - own for a in self.order(name)))
        tensor = self.reshape(self.take(name), arrange(padded, lies), self.dtype(name))
        return self._arranged(tensor, padded, lies, order, self.dtype(name))

    # Errors

    def cannot(self, why: str, hint: str = "") -> ConversionError:
        """An error about the node at hand, under the name that the user's own file gives it."""
        node, what = self.node, "model"
        name = self._names.get(node.name, "")
        if node.op_type:
            what = f"node {name} ({node.op_type})" if name else f"node {node.name}"
        shapes = ", ".join(str(list(self.view.shapes.get(i) or [])) for i in node.input if i)
        return ConversionError(
            f"The {what} cannot be written as TFLite",
            f"{why}; its inputs are {shapes}" if shapes else why,
            hint or "convert it for a target that takes it (-t cpu), or export the model without it",
        )


def _new_shape(shape: Sequence[int]) -> schema.ReshapeOptionsT:
    options = schema.ReshapeOptionsT()
    options.newShape = np.asarray(shape, np.int32)
    return options
