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

import numpy as np

_MOST_DIMENSIONS = 8  # no kernel takes more
_LARGEST = 2**28  # elements: as much as a package's input or output may have
_SCALES = (2.0**-100, 2.0**32)  # beyond, kernels abort when they make integers of the quotients
_OPTIONAL = 2  # the position from which an operator may lack its last input, which is a bias
_SPLITS = (49, 102)  # BuiltinOperator SPLIT and SPLIT_V: they write as many results as they say


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

    def vector(self, slot: int, kind: str) -> Any:
        start, count = self._vector(slot)
        if count * np.dtype(kind).itemsize > len(self.data) - start:
            raise ValueError("it ends too early, or points outside itself")
        return np.frombuffer(self.data, kind, count, start)

    def table(self, slot: int) -> _Table | None:
        place = self._place(slot)
        return _Table(self.data, place + self._unsigned(place)) if place else None

    def tables(self, slot: int) -> Iterator[_Table]:
        start, count = self._vector(slot)
        for place in range(start, start + 4 * count, 4):
            yield _Table(self.data, place + self._unsigned(place))

    def _vector(self, slot: int) -> tuple[int, int]:
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
    for buffer in model.tables(4):
        buffer.vector(0, "u1")
        if buffer.number(1, "<Q") + buffer.number(2, "<Q") > len(model.data):
            raise ValueError("it ends before its weights do")
    codes = [max(c.number(0, "<b"), c.number(3, "<i")) for c in model.tables(1)]
    for graph in model.tables(2):
        count = 0
        for tensor in graph.tables(0):
            _tensor(count, tensor)
            count += 1
        ends = np.concatenate([graph.vector(1, "<i4"), graph.vector(2, "<i4")])
        if ((ends < 0) | (ends >= count)).any():
            raise ValueError("an input or output is no tensor of its own")
        for number, operator in enumerate(graph.tables(3)):
            _operator(number, operator, codes, count)


def _tensor(number: int, tensor: _Table) -> None:
    shape = [int(d) for d in tensor.vector(0, "<i4")[: _MOST_DIMENSIONS + 1]]
    if len(shape) > _MOST_DIMENSIONS or min(shape, default=1) < 0 or math.prod(shape) > _LARGEST:
        raise ValueError(f"tensor {number} cannot have the shape {shape}")
    quantization = tensor.table(4)
    if quantization is None:
        return
    scales, zeros = quantization.vector(2, "<f4"), quantization.vector(3, "<i8")
    along = quantization.number(6, "<i")
    sizes = {0, 1, shape[along]} if 0 <= along < len(shape) else {0, 1}
    if len(scales) not in sizes or len(scales) != len(zeros):
        raise ValueError(f"tensor {number} has {len(scales)} scales and {len(zeros)} zero points")
    if not ((scales > _SCALES[0]) & (scales < _SCALES[1])).all():  # false for what is no number, too
        raise ValueError(f"tensor {number} has a scale of {scales[0]}")


def _operator(number: int, operator: _Table, codes: list[int], count: int) -> None:
    code = operator.number(0, "<I")
    if code >= len(codes):
        raise ValueError(f"operator {number} is of no kind")
    inputs, outputs = operator.vector(1, "<i4"), operator.vector(2, "<i4")
    lacking = np.flatnonzero(inputs == -1)
    if lacking.size and (lacking[0] < _OPTIONAL or lacking[0] != len(inputs) - 1):
        raise ValueError(f"operator {number} lacks an input")
    if (inputs < -1).any() or (outputs < 0).any() or (np.append(inputs, outputs) >= count).any():
        raise ValueError(f"operator {number} uses a tensor that is not there")
    options = operator.table(4)
    if codes[code] in _SPLITS and (options is None or options.number(0, "<i") != len(outputs)):
        raise ValueError(f"operator {number} splits into another number of parts than it has results")
