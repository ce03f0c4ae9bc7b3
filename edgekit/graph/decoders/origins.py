"""Where each channel of an output comes from: a sigmoid, arithmetic, or straight from a layer.

Two families may write outputs of the same shape. What a graph does to each channel before it leaves tells
them apart: probabilities come from a sigmoid or a softmax, decoded boxes from additions and multiplications,
key points, angles and mask coefficients from neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from edgekit.graph.view import GraphView, attribute

PROBABILITY = "probability"  # in 0..1: a sigmoid's, a softmax's, or a product of such
ARITHMETIC = "arithmetic"  # added to, multiplied: decoded
RAW = "raw"  # what a convolution or a matrix product gave
INTEGER = "integer"  # counted or chosen: a class, an index
CONSTANT = "constant"
OTHER = "other"

_DEPTH = 96
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
_SAME = ("Identity", "Dropout", "Clip", "Relu", "Expand", "Tile", "Min", "Max", "Where", "Abs")
_SQUASH = ("Sigmoid", "HardSigmoid", "Softmax")
_LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger", "QLinearConv")
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Neg", "Tanh", "Softplus", "Reciprocal")
_COUNTED = ("ArgMax", "ArgMin", "NonMaxSuppression", "Shape", "NonZero", "Size", "Range")
_FOLLOWED = (
    "ReduceMax",
    "ReduceMin",
    "ReduceSum",
    "GatherElements",
    "GatherND",
    "TopK",
    "Gather",
    "Pad",
    "Slice",
    "Squeeze",
    "Unsqueeze",
    "Reshape",
    "Flatten",
    "Transpose",
    "Split",
    "Concat",
    "Cast",
    "ScatterND",
    "ScatterElements",
    "DequantizeLinear",
    "QuantizeLinear",
    "Compress",
)


class Channel(NamedTuple):
    kind: str
    tensor: str  # what it was when it was last told apart from its neighbours


class Run(NamedTuple):
    """Neighbouring channels of one tensor and kind."""

    size: int
    kind: str


@dataclass
class Origins:
    view: GraphView
    _known: dict[tuple[str, int], list[Channel]] = field(default_factory=dict)

    def runs(self, name: str, axis: int) -> list[Run]:
        counts: list[tuple[Channel, int]] = []
        for channel in self.channels(name, axis):
            if counts and counts[-1][0] == channel:
                counts[-1] = (channel, counts[-1][1] + 1)
            else:
                counts.append((channel, 1))
        return [Run(size, channel.kind) for channel, size in counts]

    def kinds(self, name: str, axis: int) -> list[str]:
        """The kind of each channel along `axis`; one for all where their number is open."""
        return [c.kind for c in self.channels(name, axis)]

    def kind(self, name: str) -> str:
        """The kind of a whole tensor."""
        return self._whole(name, _DEPTH).kind

    def channels(self, name: str, axis: int, depth: int = _DEPTH) -> list[Channel]:
        shape = self.view.shape(name)
        axis = axis % len(shape) if shape else 0
        key = (name, axis)
        if key not in self._known:
            self._known[key] = [Channel(OTHER, name)] * self._size(name, axis)  # of a graph in a circle
            channels = self._channels(name, axis, depth) if depth else []
            size = self._size(name, axis)
            if len(channels) == 1 or len(channels) != size:  # broadcast, or not to be told apart
                channels = [_joined(channels, name) if len(channels) != 1 else channels[0]] * size
            self._known[key] = channels
        return self._known[key]

    def _size(self, name: str, axis: int) -> int:
        shape = self.view.shape(name)
        return max(shape[axis], 1) if axis < len(shape) else 1

    def _channels(self, name: str, axis: int, depth: int) -> list[Channel]:
        node = self.view.producers.get(name)
        if node is None:
            return [Channel(CONSTANT if name in self.view.constants else OTHER, name)]
        kind, depth = node.op_type, depth - 1
        if kind in ("Constant", "ConstantOfShape"):
            return [Channel(CONSTANT, name)]
        if kind in _COUNTED or (kind == "TopK" and name == node.output[1]):
            return [Channel(INTEGER, name)]
        if kind in _LAYERS:
            return [Channel(RAW, name)]
        if kind in _SQUASH:
            return [Channel(PROBABILITY, c.tensor) for c in self.channels(node.input[0], axis, depth)]
        if kind == "Cast":
            before = self.view.types.get(node.input[0], TensorProto.FLOAT)
            if before not in _FLOATS and before:
                return [Channel(INTEGER, name)]
            return self.channels(node.input[0], axis, depth)
        if kind in _ELEMENTWISE:
            return self._elementwise(node, axis, depth)
        if kind in _SAME:
            return self._same(node, axis, depth)
        moved = self._moved(node, name, axis, depth)
        if moved is not None:
            return moved
        return [self._joined_inputs(node, depth) if kind in _FOLLOWED else Channel(OTHER, name)]

    def _moved(self, node: onnx.NodeProto, name: str, axis: int, depth: int) -> list[Channel] | None:
        """Follows channels through an operator that only moves them; None where they cannot be followed."""
        kind, source = node.op_type, node.input[0]
        before, after = self.view.shape(source), self.view.shape(name)
        if kind == "Concat":
            if attribute(node, "axis") % max(len(after), 1) == axis:
                return [c for part in node.input for c in self.channels(part, axis, depth)]
            return _alongside([self.channels(part, axis, depth) for part in node.input])
        if kind == "Transpose":
            perm = list(attribute(node, "perm") or range(len(before))[::-1])
            return self.channels(source, perm[axis], depth)
        if kind in ("Reshape", "Flatten", "Squeeze", "Unsqueeze"):
            at = _same_axis(before, after, axis)
            return None if at is None else self.channels(source, at, depth)
        if kind == "Split":
            return self._split(node, name, axis, depth)
        if kind == "Slice":
            return self._slice(node, axis, depth)
        if kind == "Gather":
            return self._gather(node, axis, depth)
        if kind == "GatherND" and not attribute(node, "batch_dims", 0):
            indices = self.view.shape(node.input[1])
            at = axis - (len(indices) - 1) + (indices[-1] if indices else 0)
            return self.channels(source, at, depth) if axis >= len(indices) - 1 and at < len(before) else None
        if kind in ("GatherElements", "TopK") and attribute(node, "axis", -1) % max(len(before), 1) != axis:
            return self.channels(source, axis, depth)
        return None

    def _split(self, node: onnx.NodeProto, name: str, axis: int, depth: int) -> list[Channel]:
        channels = self.channels(node.input[0], axis, depth)
        if attribute(node, "axis", 0) % max(len(self.view.shape(name)), 1) != axis:
            return channels
        start = 0
        for output in node.output:
            size = self._size(output, axis)
            if output == name:
                return [Channel(c.kind, f"{c.tensor}[{name}]") for c in channels[start : start + size]]
            start += size
        return channels

    def _slice(self, node: onnx.NodeProto, axis: int, depth: int) -> list[Channel] | None:
        parts = [self.view.array(i) if i else None for i in node.input[1:5]]
        if len(parts) < 2 or parts[0] is None or parts[1] is None:
            return None
        rank = len(self.view.shape(node.input[0]))
        axes = parts[2] if len(parts) > 2 and parts[2] is not None else np.arange(len(parts[0]))
        steps = parts[3] if len(parts) > 3 and parts[3] is not None else np.ones(len(parts[0]), int)
        channels = self.channels(node.input[0], axis, depth)
        for start, end, along, step in zip(parts[0], parts[1], axes, steps):
            if int(along) % max(rank, 1) == axis:
                cut = channels[int(start) : int(end) : int(step)]
                return [Channel(c.kind, f"{c.tensor}[{node.output[0]}]") for c in cut]
        return channels

    def _gather(self, node: onnx.NodeProto, axis: int, depth: int) -> list[Channel] | None:
        source, rank = node.input[0], len(self.view.shape(node.input[0]))
        along = attribute(node, "axis", 0) % max(rank, 1)
        picks, width = self.view.array(node.input[1]), len(self.view.shape(node.input[1]))
        if axis < along:
            return self.channels(source, axis, depth)
        if axis >= along + width:
            return self.channels(source, axis - width + 1, depth)
        if picks is None or width != 1:
            return None
        channels = self.channels(source, along, depth)
        return [channels[int(i)] for i in picks if -len(channels) <= int(i) < len(channels)]

    def _elementwise(self, node: onnx.NodeProto, axis: int, depth: int) -> list[Channel]:
        name, rank = node.output[0], len(self.view.shape(node.output[0]))
        sides = []
        for value in node.input:
            at = axis - rank + len(self.view.shape(value))
            sides.append(self.channels(value, at, depth) if at >= 0 else [self._whole(value, depth)])
        size = max(len(s) for s in sides)
        sides = [s * size if len(s) == 1 else s for s in sides]
        if len({len(s) for s in sides}) != 1:
            return [Channel(ARITHMETIC, name)]
        return [self._combined(node, [s[i] for s in sides]) for i in range(size)]

    def _combined(self, node: onnx.NodeProto, sides: Sequence[Channel]) -> Channel:
        kind, kinds = node.op_type, [c.kind for c in sides]
        varying = [c for c in sides if c.kind != CONSTANT]
        if not varying:
            return Channel(CONSTANT, node.output[0])
        if kind == "Mul" and all(k == PROBABILITY for k in kinds):
            return Channel(PROBABILITY, varying[0].tensor)
        if kind in ("Sqrt", "Pow") and kinds[0] == PROBABILITY:
            return Channel(PROBABILITY, varying[0].tensor)
        if kind == "Add" and kinds.count(CONSTANT) == 1 and varying[0].kind == RAW and self._is_bias(node):
            return varying[0]
        return Channel(ARITHMETIC, node.output[0])

    def _is_bias(self, node: onnx.NodeProto) -> bool:
        """Whether what is added to a matrix product is one number a channel."""
        layer = self.view.producers.get(node.input[0]) or self.view.producers.get(node.input[1])
        sizes = [sum(d > 1 for d in self.view.shape(i)) for i in node.input if i in self.view.constants]
        return layer is not None and layer.op_type in ("MatMul", "Gemm") and sizes == [1]

    def _same(self, node: onnx.NodeProto, axis: int, depth: int) -> list[Channel]:
        rank = len(self.view.shape(node.output[0]))
        values = node.input[1:3] if node.op_type == "Where" else node.input[:1]
        if node.op_type in ("Min", "Max"):
            values = [i for i in node.input if i not in self.view.constants] or node.input[:1]
        sides = []
        for value in values:
            at = axis - rank + len(self.view.shape(value))
            sides.append(self.channels(value, at, depth) if at >= 0 else [self._whole(value, depth)])
        varying = [s for s in sides if any(c.kind != CONSTANT for c in s)] or sides
        return _alongside(varying)

    def _whole(self, name: str, depth: int) -> Channel:
        shape = self.view.shape(name)
        return _joined(self.channels(name, 1 if len(shape) > 1 else 0, depth), name)

    def _joined_inputs(self, node: onnx.NodeProto, depth: int) -> Channel:
        """The kind that all merged or overwritten inputs have, or none."""
        values = [node.input[0], node.input[2]] if node.op_type.startswith("Scatter") else list(node.input[:1])
        if node.op_type == "Concat":
            values = list(node.input)
        return _joined([self._whole(v, depth) for v in values], node.output[0])


def _joined(channels: Sequence[Channel], name: str) -> Channel:
    kinds = {c.kind for c in channels}
    return Channel(kinds.pop() if len(kinds) == 1 else OTHER, name)


def _alongside(sides: Sequence[list[Channel]]) -> list[Channel]:
    """Channels of parts that were joined along another axis or chosen from: a channel has the kind that all parts
    have."""
    size = max(len(s) for s in sides)
    sides = [s * size if len(s) == 1 else s for s in sides]
    if len({len(s) for s in sides}) != 1:
        return [_joined([c for s in sides for c in s], sides[0][0].tensor)]
    return [Channel(cs[0].kind if len({c.kind for c in cs}) == 1 else OTHER, cs[0].tensor) for cs in zip(*sides)]


def _same_axis(before: tuple[int, ...], after: tuple[int, ...], axis: int) -> int | None:
    """The axis before a Reshape that is `axis` after it; None where it was merged or parted."""
    if not before or axis >= len(after):
        return None
    if -1 in before or -1 in after:  # an open number of rows: sizes tell, where they tell apart
        same = [i for i, d in enumerate(before) if d == after[axis] and d > 1]
        return same[0] if len(same) == 1 and after.count(after[axis]) == 1 else None
    ahead = math.prod(after[:axis])
    fitting = [i for i, d in enumerate(before) if d == after[axis] and math.prod(before[:i]) == ahead]
    return fitting[-1] if fitting else None
