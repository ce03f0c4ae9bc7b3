"""What a decoder is, and the questions it may ask of a graph before it claims it.

A decoder recognises how one family of detectors writes its outputs, and appends to the graph
what turns them into the canonical form (`DetectionSpec`): boxes in pixels and probabilities.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.graph.decoders.origins import Origins, Run
from edgekit.graph.view import Editor, GraphView, attribute
from edgekit.spec import ImageSpec

Array = np.ndarray[Any, Any]

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (16,))


@dataclass
class Heads:
    """A detector's raw outputs, seen together with the graph that makes them."""

    view: GraphView
    edit: Editor
    height: int
    width: int
    classes: int  # 0 when nothing says how many there are
    image: ImageSpec  # how pictures are prepared, once the family is known
    notes: list[str] = field(default_factory=list)  # what was found out, or taken for granted

    @functools.cached_property
    def origins(self) -> Origins:
        return Origins(self.view)

    @property
    def outputs(self) -> list[str]:
        return self.view.outputs

    def shape(self, name: str) -> tuple[int, ...]:
        return self.view.shape(name)

    def single(self) -> tuple[int, ...]:
        """The shape of the only output, or () when there are several."""
        return self.shape(self.outputs[0]) if len(self.outputs) == 1 else ()

    def cells(self, strides: Sequence[int]) -> int:
        return sum(-(-self.height // s) * -(-self.width // s) for s in strides)

    def strides(self, count: int, anchors: int = 1) -> tuple[int, ...]:
        """The strides whose grid has `count` predictions, or ()."""
        return next((s for s in STRIDES if anchors * self.cells(s) == count), ())

    def grid(self, strides: Sequence[int], offset: float) -> tuple[Array, Array]:
        """Cell positions (1, N, 2) as x, y in strides, and the stride (1, N, 1) of each cell."""
        points, scales = [], []
        for stride in strides:
            rows, columns = -(-self.height // stride), -(-self.width // stride)
            y, x = np.mgrid[:rows, :columns]
            points.append(np.stack((x, y), -1).reshape(-1, 2) + offset)
            scales.append(np.full((rows * columns, 1), stride))
        return np.concatenate(points)[None], np.concatenate(scales)[None]

    def distances(self, sides: str, count: int, bins: int) -> str:
        """(1, N, 4·bins) distributions over whole distances to their means (1, N, 4): integral regression."""
        steps = self.edit.const(np.arange(bins).reshape(bins, 1))
        each = self.edit.op("Softmax", self.edit.reshape(sides, 1, count, 4, bins), axis=3)
        return self.edit.reshape(self.edit.op("MatMul", each, steps), 1, count, 4)

    def around(self, sides: str, grid: Array, scale: Array) -> str:
        """Boxes (1, N, 4) from the distances of their four sides to a point, both in strides."""
        centre = self.edit.const(grid)
        low = self.edit.op("Sub", centre, self.edit.slice(sides, 2, 0, 2))
        high = self.edit.op("Add", centre, self.edit.slice(sides, 2, 2, 4))
        return self.edit.op("Mul", self.edit.op("Concat", low, high, axis=2), self.edit.const(scale))

    def runs(self, name: str, axis: int) -> list[Run]:
        """How a head is put together along `axis`: neighbouring channels that come from one place."""
        return self.origins.runs(name, axis)

    def kinds(self, name: str, axis: int) -> list[str]:
        return self.origins.kinds(name, axis)

    def kind(self, name: str) -> str:
        return self.origins.kind(name)

    def _size(self, name: str, axis: int) -> int:
        shape = self.shape(name)
        return shape[axis] if axis < len(shape) else -1

    def activation(self, name: str) -> str:
        """`Sigmoid` or `Softmax` when that is the last arithmetic before `name`, else ""."""
        skip = {"Transpose", "Reshape", "Cast", "Identity", "Concat", "Slice", "Split", "Squeeze"}
        for _ in range(32):
            node = self.view.producers.get(name)
            if node is None:
                return ""
            if node.op_type in ("Sigmoid", "Softmax"):
                return str(node.op_type)
            if node.op_type not in skip:
                return ""
            name = node.input[0]
        return ""

    def channels(self, name: str, axis: int, start: int, end: int) -> str:
        """Channels [start, end) along `axis`; taken before a Concat that merely joined them."""
        node = self.view.producers.get(name)
        if node is not None and node.op_type == "Cast":
            return self.edit.op("Cast", self.channels(node.input[0], axis, start, end), to=1)
        if node is not None and node.op_type == "Concat":
            rank = len(self.shape(name))
            if attribute(node, "axis") % rank == axis % rank:
                at, pieces = 0, []
                for part in node.input:
                    size = self._size(part, axis % rank)
                    if size < 0:
                        break
                    if start <= at and at + size <= end:
                        pieces.append((part, size))
                    at += size
                if pieces and sum(size for _, size in pieces) == end - start:
                    parts = [part for part, _ in pieces]
                    return parts[0] if len(parts) == 1 else self.edit.op("Concat", *parts, axis=axis)
        return self.edit.slice(name, axis, start, end)

    def corners(self, centre_size: str, scale: Sequence[float] | None = None) -> str:
        """Boxes (1, N, 4) from centre x, centre y, width, height; times `scale` when given."""
        centre = self.edit.slice(centre_size, 2, 0, 2)
        half = self.edit.op("Mul", self.edit.slice(centre_size, 2, 2, 4), self.edit.const(0.5))
        low, high = self.edit.op("Sub", centre, half), self.edit.op("Add", centre, half)
        boxes = self.edit.op("Concat", low, high, axis=2)
        return boxes if scale is None else self.edit.op("Mul", boxes, self.edit.const(scale))

    def image_scale(self) -> tuple[float, float, float, float]:
        """The factors that turn corners in 0..1 into pixels."""
        return float(self.width), float(self.height), float(self.width), float(self.height)


@dataclass(frozen=True)
class Decoded:
    """Tensors of the canonical form. `classes` is set when the graph has suppressed already."""

    boxes: str
    scores: str
    candidates: int  # N; -1 when it differs from image to image
    class_count: int  # C; 0 when the graph does not say
    classes: str = ""
    notes: tuple[str, ...] = ()  # what was taken for granted


def never(heads: Heads) -> bool:
    """Matches nothing: for a decoder that needs what no graph holds, which only the user can choose."""
    return False


@dataclass(frozen=True)
class Decoder:
    name: str
    about: str
    matches: Callable[[Heads], bool]
    decode: Callable[[Heads], Decoded]
    image: Mapping[str, Any] = field(default_factory=dict)  # pre-processing of this family
    iou_threshold: float = 0.7  # at which its authors suppress duplicates
