"""What a .tflite must have before an interpreter may read it.

LiteRT and tflite-runtime check that a flatbuffer is well formed, but not all that their kernels rely
on: some crafted or damaged files end the process instead of raising. This reads the file by slot
number, as schema.fbs of TensorFlow Lite declares it, and refuses those known to. It is no proof that
a file is harmless: a package from somebody nobody trusts belongs in a process of its own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MOST_DIMENSIONS = 8  # no kernel takes more
_LARGEST = 2**28  # elements: as much as a package's input or output may have
_SCALES = (2.0**-100, 2.0**32)  # beyond, kernels abort when they make integers of the quotients
_OPTIONAL = 2  # the position from which an operator may lack its last input, which is a bias
_SPLITS = (49, 102)  # BuiltinOperator SPLIT and SPLIT_V: they write as many results as they say
_CHANGES_TYPE = (53, 114)  # BuiltinOperator CAST and QUANTIZE
_FLOATS, _SMALL_INTEGERS = (0, 1, 10), (3, 7, 9)  # TensorType


def check(data: bytes) -> None:
    """Raises ValueError with what is wrong with the bytes of a .tflite."""
    if data[4:8] != b"TFL3":
        raise ValueError("it is no TFLite file")
    try:
        _model(_Table(data, struct.unpack_from("<I", data)[0]))
    except struct.error:
        raise ValueError("it ends too early, or points outside itself") from None


@dataclass(frozen=True)
class _Table:
    """A table of a flatbuffer; slots count its fields in the order the schema declares them."""

    data: bytes
    at: int

    def number(self, slot: int, kind: str) -> int:
        place = self._place(slot)
        return int(struct.unpack_from(kind, self.data, place)[0]) if place else 0

    def vector(self, slot: int, kind: str) -> tuple[Any, ...]:
        start, count = self.extent(slot)
        return struct.unpack_from(f"<{count}{kind}", self.data, start)

    def table(self, slot: int) -> _Table | None:
        place = self._place(slot)
        return _Table(self.data, place + self._unsigned(place)) if place else None

    def tables(self, slot: int) -> Iterator[_Table]:
        start, count = self.extent(slot)
        for place in range(start, start + 4 * count, 4):
            yield _Table(self.data, place + self._unsigned(place))

    def extent(self, slot: int) -> tuple[int, int]:
        """Where the elements of a vector start, and how many there are."""
        place = self._place(slot)
        if not place:
            return 0, 0
        start = place + self._unsigned(place)
        return start + 4, self._unsigned(start)

    def _place(self, slot: int) -> int:
        """Where a field is; 0 when it has its default."""
        fields = self.at - struct.unpack_from("<i", self.data, self.at)[0]
        if fields < 0:  # which Python would count from the end
            raise struct.error
        if 6 + 2 * slot > struct.unpack_from("<H", self.data, fields)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self.data, fields + 4 + 2 * slot)[0]
        return self.at + offset if offset else 0

    def _unsigned(self, place: int) -> int:
        return int(struct.unpack_from("<I", self.data, place)[0])


def _model(model: _Table) -> None:
    filled = []  # whether each buffer holds something
    for buffer in model.tables(4):
        inside, behind = sum(buffer.extent(0)), buffer.number(1, "<Q") + buffer.number(2, "<Q")
        if max(inside, behind) > len(model.data):
            raise ValueError("it ends before its weights do")
        filled.append(behind > 1 or buffer.extent(0)[1] > 0)
    codes = [max(c.number(0, "<b"), c.number(3, "<i")) for c in model.tables(1)]
    for graph in model.tables(2):
        tensors = list(graph.tables(0))
        types = [_tensor(number, tensor) for number, tensor in enumerate(tensors)]
        if any(not 0 <= t < len(types) for slot in (1, 2) for t in graph.vector(slot, "i")):
            raise ValueError("its inputs and outputs are not among its tensors")
        known = {-1, *graph.vector(1, "i")}  # tensors that have a value, as operators run
        for number, tensor in enumerate(tensors):
            buffer_index = tensor.number(2, "<I")
            if buffer_index >= len(filled):
                raise ValueError(f"tensor {number} has no buffer")
            if filled[buffer_index] or tensor.number(5, "<?"):
                known.add(number)
        for number, operator in enumerate(graph.tables(3)):
            _operator(number, operator, codes, types, known)


def _tensor(number: int, tensor: _Table) -> int:
    """Returns the tensor's type."""
    kind = tensor.number(1, "<b")
    if tensor.extent(0)[1] > _MOST_DIMENSIONS:
        raise ValueError(f"tensor {number} has too many dimensions")
    shape = tensor.vector(0, "i")
    if min(shape, default=1) < 0 or math.prod(shape) > _LARGEST:
        raise ValueError(f"tensor {number} cannot have the shape {list(shape)}")
    quantization = tensor.table(4)
    if quantization is None:
        return kind
    (_, scales), (_, zeros), along = *map(quantization.extent, (2, 3)), quantization.number(6, "<i")
    sizes = {0, 1, shape[along]} if 0 <= along < len(shape) else {0, 1}
    if scales not in sizes or scales != zeros:
        raise ValueError(f"tensor {number} has {scales} scales and {zeros} zero points")
    wrong = [s for s in quantization.vector(2, "f") if not _SCALES[0] < s < _SCALES[1]]  # what is no number, too
    if wrong:
        raise ValueError(f"tensor {number} has a scale of {wrong[0]:g}")
    return kind


def _operator(number: int, operator: _Table, codes: list[int], types: list[int], known: set[int]) -> None:
    index = operator.number(0, "<I")
    inputs, outputs = operator.vector(1, "i"), operator.vector(2, "i")
    if index >= len(codes) or not outputs:
        raise ValueError(f"operator {number} is of no kind, or has no result")
    code = codes[index]
    if -1 in inputs[:_OPTIONAL] or -1 in inputs[:-1]:
        raise ValueError(f"operator {number} lacks an input")
    if any(not -1 <= t < len(types) for t in inputs) or any(not 0 <= t < len(types) for t in outputs):
        raise ValueError(f"operator {number} uses a tensor that is not there")
    if not known.issuperset(inputs) or not known.isdisjoint(outputs):
        raise ValueError(f"operator {number} reads what nothing wrote, or writes over something")
    known.update(outputs)
    options = operator.table(4)
    if code in _SPLITS and (options is None or options.number(0, "<i") != len(outputs)):
        raise ValueError(f"operator {number} does not split into as many parts as it has results")
    mixed = types[outputs[0]] in _SMALL_INTEGERS and any(types[t] in _FLOATS for t in inputs if t >= 0)
    if mixed and code not in _CHANGES_TYPE:
        raise ValueError(f"operator {number} makes integers of floats")
