"""Operators that slide over the pixels of feature maps: convolutions and pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import CHANNELS_LAST, arrange
from edgekit.tflite.operators.pointwise import fused
from edgekit.tflite.state import Array, Lowering, lowers

_SAME, _VALID = schema.Padding.SAME, schema.Padding.VALID
_NOT_NEGATIVE = frozenset({"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Exp", "Abs"})
Pads = tuple[int, int, int, int]  # top, left, bottom, right


@lowers("Conv")
def conv(to: Lowering, node: onnx.NodeProto) -> None:
    x = node.input[0]
    shape = image(to, x)
    weight = to.fixed(1, "weight")
    outputs, group = weight.shape[0], attribute(node, "group", 1)
    bias = to.fixed(2, "bias") if len(node.input) > 2 and node.input[2] else np.zeros(outputs)
    strides = attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations)]
    pads = _pads(to, node, shape, extent, strides)
    tensor, padding = _padded(to, x, pads, extent, strides)
    kind, inputs, options = _convolution(tensor, weight, bias, group, dilations, to)
    _window(options, padding, strides)
    to.put(fused(to, node, options), kind, inputs, CHANNELS_LAST, options)


def _convolution(
    tensor: int, weight: Array, bias: Array, group: int, dilations: Sequence[int], to: Lowering
) -> tuple[str, list[int], Any]:
    """`weight`: outputs, inputs of a group, height, width."""
    depthwise = weight.shape[1] == 1 and group > 1
    options: Any = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.dilationHFactor, options.dilationWFactor = dilations
    if depthwise:  # 1, height, width, outputs
        options.depthMultiplier = len(weight) // group
        kernel = weight.transpose(1, 2, 3, 0)
    else:  # outputs, height, width, inputs of a group
        kernel = weight.transpose(0, 2, 3, 1)
    kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    return kind, [tensor, to.floats(kernel), to.floats(bias)], options


@lowers("ConvTranspose")
def conv_transpose(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    shape, out = image(to, x), to.shape(result)
    weight = to.fixed(1, "weight")
    group, strides = attribute(node, "group", 1), attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    extent = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations)]
    bias = to.fixed(2, "bias") if len(node.input) > 2 and node.input[2] else np.zeros(out[1])
    top, left = _cut(node, shape, out, extent, strides)
    if group != 1 or dilations != [1, 1]:
        _spread_convolution(to, node, weight, bias, (top, left))
        return
    # TFLite gives the whole result, of which ONNX cuts the padding away.
    height, width = ((d - 1) * s + k for d, s, k in zip(shape[2:], strides, extent))
    whole = (out[0], height, width, out[1])
    if top + out[2] > height or left + out[3] > width:
        raise to.cannot("its output_padding reaches beyond its kernel")
    options = schema.TransposeConvOptionsT()
    _window(options, _VALID, strides)
    kernel = to.floats(weight.transpose(1, 2, 3, 0))
    inputs = [to.ints(whole), kernel, to.take(x, CHANNELS_LAST), to.floats(bias)]
    if whole == arrange(out, CHANNELS_LAST):
        to.put(result, "TRANSPOSE_CONV", inputs, CHANNELS_LAST, options)
        return
    _cropped(to, result, to.temporary("TRANSPOSE_CONV", inputs, whole, options=options), top, left)


def _cut(
    node: onnx.NodeProto, shape: Sequence[int], out: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> tuple[int, int]:
    """How much of a transposed convolution's whole result ONNX cuts away at the top and left."""
    mode = attribute(node, "auto_pad", b"NOTSET")
    if mode == b"VALID":
        return 0, 0
    if mode == b"NOTSET" and not attribute(node, "output_shape"):
        top, left = attribute(node, "pads", [0, 0, 0, 0])[:2]
        return top, left
    more = attribute(node, "output_padding", [0, 0])
    cuts = [max((d - 1) * s + m + e - o, 0) for d, s, m, e, o in zip(shape[2:], strides, more, extent, out[2:])]
    top, left = (c // 2 if mode == b"SAME_UPPER" else c - c // 2 for c in cuts)
    return top, left


def _spread_convolution(to: Lowering, node: onnx.NodeProto, weight: Array, bias: Array, cut: tuple[int, int]) -> None:
    """TFLite's transposed convolution has neither groups nor dilation: a convolution over the
    pixels spread apart by zeros, with the kernel mirrored."""
    x, result = node.input[0], node.output[0]
    (count, channels, height, width), out = to.shape(x), to.shape(result)
    group, strides = attribute(node, "group", 1), attribute(node, "strides", [1, 1])
    dilations = attribute(node, "dilations", [1, 1])
    tensor = to.take(x, CHANNELS_LAST)
    tall, wide = strides
    if strides != [1, 1]:
        tensor = to.reshape(tensor, (count * height, 1, width, 1, channels))
        around = to.ints([[0, 0], [0, tall - 1], [0, 0], [0, wide - 1], [0, 0]])
        spread = (count * height, tall, width, wide, channels)
        tensor = to.temporary("PAD", [tensor, around], spread, options=schema.PadOptionsT())
        tensor = to.reshape(tensor, (count, height * tall, width * wide, channels))
    reach = [(k - 1) * d for k, d in zip(weight.shape[2:], dilations)]
    size = (height * tall, width * wide)
    before = [r - c for r, c in zip(reach, cut)]
    after = [o + r - s - b for o, r, s, b in zip(out[2:], reach, size, before)]
    pads = [[max(p, 0) for p in pair] for pair in zip(before, after)]
    larger = (count, *(s + sum(p) for s, p in zip(size, pads)), channels)
    around = to.ints([[0, 0], *pads, [0, 0]])
    tensor = to.temporary("PAD", [tensor, around], larger, options=schema.PadOptionsT())
    kernel = weight.reshape(group, channels // group, *weight.shape[1:]).swapaxes(1, 2)
    kernel = kernel.reshape(out[1], channels // group, *weight.shape[2:])[:, :, ::-1, ::-1]
    kind, inputs, options = _convolution(tensor, kernel, bias, group, dilations, to)
    _window(options, _VALID, (1, 1))
    whole = (count, *(d - r for d, r in zip(larger[1:3], reach)), out[1])
    tensor = to.temporary(kind, inputs, whole, options=options)
    _cropped(to, result, tensor, *(max(-b, 0) for b in before))


def _cropped(to: Lowering, result: str, tensor: int, top: int, left: int) -> None:
    begin, sizes = to.ints((0, top, left, 0)), to.ints(arrange(to.shape(result), CHANNELS_LAST))
    to.put(result, "SLICE", [tensor, begin, sizes], CHANNELS_LAST, schema.SliceOptionsT())


@lowers("MaxPool")
def max_pool(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    shape = image(to, x)
    kernel, strides = attribute(node, "kernel_shape"), attribute(node, "strides", [1, 1])
    if attribute(node, "dilations", [1, 1]) != [1, 1] or len([o for o in node.output if o]) > 1:
        raise to.cannot("TFLite's MAX_POOL_2D has neither dilation nor indices")
    pads = _pads(to, node, shape, kernel, strides)
    producer = to.view.producers.get(x)
    # Zero never wins where nothing is negative; elsewhere the lowest number stands in.
    safe = producer is not None and producer.op_type in _NOT_NEGATIVE
    fill = 0.0 if safe else float(np.finfo(np.float32).min)
    tensor, padding = _padded(to, x, pads, kernel, strides, fill)
    to.put(result, "MAX_POOL_2D", [tensor], CHANNELS_LAST, _pool(padding, kernel, strides))


@lowers("AveragePool")
def average_pool(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    shape, out = image(to, x), to.shape(result)
    kernel, strides = attribute(node, "kernel_shape"), attribute(node, "strides", [1, 1])
    if attribute(node, "dilations", [1, 1]) != [1, 1]:
        raise to.cannot("TFLite's AVERAGE_POOL_2D has no dilation")
    pads = _pads(to, node, shape, kernel, strides)
    counted = attribute(node, "count_include_pad", 0)
    if pads == _same_pads(shape, kernel, strides) and (not counted or not any(pads)):
        inputs = [to.take(x, CHANNELS_LAST)]  # TFLite never counts padding
        to.put(result, "AVERAGE_POOL_2D", inputs, CHANNELS_LAST, _pool(_SAME, kernel, strides))
        return
    tensor = _pad(to, x, pads) if any(pads) else to.take(x, CHANNELS_LAST)
    options = _pool(_VALID, kernel, strides)
    padding = attribute(node, "pads", pads) if counted else None
    share = _share_inside(shape, out, kernel, strides, pads, padding)
    if share is None:
        to.put(result, "AVERAGE_POOL_2D", [tensor], CHANNELS_LAST, options)
        return
    mean = to.temporary("AVERAGE_POOL_2D", [tensor], arrange(out, CHANNELS_LAST), options=options)
    to.put(result, "MUL", [mean, to.floats(1 / share)], CHANNELS_LAST, schema.MulOptionsT())


def _share_inside(
    shape: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Pads,
    counted: Sequence[int] | None,
) -> Array | None:
    """For each output pixel, the share of its window that ONNX counts; None when that is all.

    `counted`: the padding that counts as pixels; what `ceil_mode` adds to it never does.
    """
    sides = []
    for axis in range(2):
        low, size, high = pads[axis], shape[axis + 2], pads[axis + 2]
        inside = np.zeros(low + size + high)
        inside[low : low + size] = 1
        if counted:
            inside[: low + size + counted[axis + 2]] = 1
        starts = np.arange(out[axis + 2]) * strides[axis]
        sides.append([inside[s : s + kernel[axis]].sum() / kernel[axis] for s in starts])
    share: Array = np.outer(sides[0], sides[1])
    return None if (share == 1).all() else share[None, :, :, None]


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    options = schema.ReducerOptionsT()
    options.keepDims = True
    kind = "MEAN" if node.op_type == "GlobalAveragePool" else "REDUCE_MAX"
    inputs = [to.take(x), to.ints([place for place, axis in enumerate(order) if axis > 1])]
    to.put(node.output[0], kind, inputs, order, options)


def image(to: Lowering, name: str) -> tuple[int, ...]:
    shape = to.shape(name)
    if len(shape) != 4:
        raise to.cannot(f"TFLite computes it on 4-D tensors, and this one has {len(shape)} dimensions")
    return shape


def _window(options: Any, padding: int, strides: Sequence[int]) -> None:
    options.padding = padding
    options.strideH, options.strideW = strides


def _pool(padding: int, kernel: Sequence[int], strides: Sequence[int]) -> schema.Pool2DOptionsT:
    options = schema.Pool2DOptionsT()
    _window(options, padding, strides)
    options.filterHeight, options.filterWidth = kernel
    return options


def _pads(
    to: Lowering, node: onnx.NodeProto, shape: Sequence[int], extent: Sequence[int], strides: Sequence[int]
) -> Pads:
    """Top, left, bottom, right; what `ceil_mode` needs beyond what was asked is at the end."""
    mode = attribute(node, "auto_pad", b"NOTSET")
    if mode == b"VALID":
        return (0, 0, 0, 0)
    if mode == b"SAME_UPPER":
        return _same_pads(shape, extent, strides)
    if mode == b"SAME_LOWER":
        top, left, bottom, right = _same_pads(shape, extent, strides)
        return (bottom, right, top, left)
    top, left, bottom, right = attribute(node, "pads", [0, 0, 0, 0])
    if attribute(node, "ceil_mode", 0):
        out = to.shape(node.output[0])
        bottom = max(bottom, (out[2] - 1) * strides[0] + extent[0] - shape[2] - top)
        right = max(right, (out[3] - 1) * strides[1] + extent[1] - shape[3] - left)
    return (top, left, bottom, right)


def _same_pads(shape: Sequence[int], extent: Sequence[int], strides: Sequence[int]) -> Pads:
    """The padding that TFLite's SAME stands for."""
    total = [max((math.ceil(d / s) - 1) * s + e - d, 0) for d, s, e in zip(shape[2:], strides, extent)]
    return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)


def _padded(
    to: Lowering, x: str, pads: Pads, extent: Sequence[int], strides: Sequence[int], fill: float = 0.0
) -> tuple[int, int]:
    """The tensor to slide over and TFLite's padding: an operator of its own where SAME differs."""
    if not any(pads):
        return to.take(x, CHANNELS_LAST), _VALID
    if pads == _same_pads(to.shape(x), extent, strides):
        return to.take(x, CHANNELS_LAST), _SAME
    return _pad(to, x, pads, fill), _VALID


def _pad(to: Lowering, x: str, pads: Pads, fill: float = 0.0) -> int:
    count, channels, height, width = to.shape(x)
    top, left, bottom, right = pads
    inputs = [to.take(x, CHANNELS_LAST), to.ints([[0, 0], [top, bottom], [left, right], [0, 0]])]
    larger = (count, height + top + bottom, width + left + right, channels)
    if fill == 0.0:
        return to.temporary("PAD", inputs, larger, options=schema.PadOptionsT())
    return to.temporary("PADV2", [*inputs, to.floats([fill])], larger, options=schema.PadV2OptionsT())
