"""Operators along an axis: sums, means, softmax, the largest of several, normalisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import Order, arrange, in_groups, without
from edgekit.tflite.operators.pointwise import LONGEST_BROADCAST
from edgekit.tflite.operators.shaping import axis_last
from edgekit.tflite.state import Lowering, lowers

_REDUCE = {
    "ReduceMean": "MEAN",
    "ReduceSum": "SUM",
    "ReduceMax": "REDUCE_MAX",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceL2": "SUM",
    "ReduceL1": "SUM",
    "ReduceSumSquare": "SUM",
}
_FIRST = {"ReduceL2": "SQUARE", "ReduceL1": "ABS", "ReduceSumSquare": "SQUARE"}


@lowers(*_REDUCE)
def reduce(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    order, tensor = to.order(x), to.take(x)
    axes = attribute(node, "axes")
    if len(node.input) > 1 and node.input[1]:
        axes = to.fixed(1, "axes").tolist()
    if not axes and attribute(node, "noop_with_empty_axes", 0):
        to.alias(result, tensor, order)
        return
    axes = [a % len(order) for a in axes] if axes else list(range(len(order)))
    options = schema.ReducerOptionsT()
    options.keepDims = bool(attribute(node, "keepdims", 1))
    places = to.ints([order.index(a) for a in axes])
    after = order if options.keepDims else without(order, axes)
    if node.op_type in _FIRST:
        tensor = to.temporary(_FIRST[node.op_type], [tensor], arrange(to.shape(x), order), to.dtype(x))
    if node.op_type == "ReduceL2":
        stored = arrange(to.shape(result), after)
        total = to.temporary("SUM", [tensor, places], stored, options=options)
        to.put(result, "SQRT", [total], after)
        return
    to.put(result, _REDUCE[node.op_type], [tensor, places], after, options)


@lowers("Softmax", "LogSoftmax")
def softmax(to: Lowering, node: onnx.NodeProto) -> None:
    x = node.input[0]
    order = axis_last(to, x, attribute(node, "axis", -1))
    if node.op_type == "LogSoftmax":
        to.put(node.output[0], "LOG_SOFTMAX", [to.take(x, order)], order, schema.LogSoftmaxOptionsT())
        return
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    to.put(node.output[0], "SOFTMAX", [to.take(x, order)], order, options)


@lowers("ArgMax", "ArgMin")
def arg_max(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    order = to.order(x)
    axis = attribute(node, "axis", 0) % len(order)
    if attribute(node, "select_last_index", 0):
        raise to.cannot("TFLite takes the first of equal values")
    kind = "ARG_MAX" if node.op_type == "ArgMax" else "ARG_MIN"
    options: Any = schema.ArgMaxOptionsT() if kind == "ARG_MAX" else schema.ArgMinOptionsT()
    options.outputType = schema.TensorType.INT32
    inputs = [to.take(x), to.ints(order.index(axis))]
    after = without(order, [axis])
    if not attribute(node, "keepdims", 1):
        to.put(result, kind, inputs, after, options)
        return
    less = [d for a, d in enumerate(to.shape(x)) if a != axis]
    indices = to.temporary(kind, inputs, arrange(less, after), np.int32, options)
    stored = arrange(to.shape(result), order)
    to.alias(result, to.reshape(indices, stored, np.int32), order)


@lowers("TopK")
def top_k(to: Lowering, node: onnx.NodeProto) -> None:
    x = node.input[0]
    order = axis_last(to, x, attribute(node, "axis", -1))
    count = to.ints(int(to.fixed(1, "number").ravel()[0]))
    names = [n or f"{node.name}/unused" for n in node.output]
    for name, dtype in zip(names, (to.view.types[x], onnx.TensorProto.INT64)):
        to.view.shapes.setdefault(name, to.shape(node.output[0] or node.output[1]))
        to.view.types.setdefault(name, dtype)
    if attribute(node, "largest", 1):
        to.put_all(names, "TOPK_V2", [to.take(x, order), count], order, schema.TopKV2OptionsT())
        return
    # TFLite takes the largest only: the smallest are the largest of the negated ones
    negated = to.temporary("NEG", [to.take(x, order)], arrange(to.shape(x), order), to.dtype(x))
    to.put_all(names, "TOPK_V2", [negated, count], order, schema.TopKV2OptionsT())
    to.put(names[0], "NEG", [to.take(names[0])], order)


@lowers("CumSum")
def cumulated(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    axis = int(to.fixed(1, "axis").ravel()[0]) % len(order)
    options = schema.CumsumOptionsT()
    options.exclusive, options.reverse = (bool(attribute(node, k, 0)) for k in ("exclusive", "reverse"))
    to.put(node.output[0], "CUMSUM", [to.take(x), to.ints(order.index(axis))], order, options)


@lowers("LayerNormalization")
def layer_norm(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    rank = len(order)
    if any(node.output[1:]):
        raise to.cannot("its mean and deviation are read")
    axes = range(attribute(node, "axis", -1) % rank, rank)
    shape = arrange(to.shape(x), order)
    places = [order.index(a) for a in axes]
    _affine(to, node, _normal(to, node, to.take(x), shape, places), order, 0)


@lowers("RMSNormalization")
def root_mean_square_norm(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    axes = range(attribute(node, "axis", -1) % len(order), len(order))
    stored = arrange(to.shape(x), order)
    places, tensor = [order.index(a) for a in axes], to.take(x)
    _affine(to, node, _unit(to, node, tensor, stored, places), order, 0)


@lowers("InstanceNormalization")
def instance_norm(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    places = [place for place, axis in enumerate(order) if axis > 1]
    normal = _normal(to, node, to.take(x), arrange(to.shape(x), order), places)
    _affine(to, node, normal, order, len(order) - 2)


@lowers("BatchNormalization")
def batch_norm(to: Lowering, node: onnx.NodeProto) -> None:
    """A scale and a shift a channel; most were folded into convolutions before."""
    x, order = node.input[0], to.order(node.input[0])
    scale, shift, mean, variance = (to.fixed(i, "statistics") for i in range(1, 5))
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    parts = [v.reshape(-1, *[1] * (len(order) - 2))[None] for v in (factor, shift - mean * factor)]
    scaled = to.temporary(
        "MUL",
        [to.take(x), to.floats(parts[0].transpose(order))],
        arrange(to.shape(x), order),
        options=schema.MulOptionsT(),
    )
    inputs = [scaled, to.floats(parts[1].transpose(order))]
    to.put(node.output[0], "ADD", inputs, order, schema.AddOptionsT())


def _normal(to: Lowering, node: onnx.NodeProto, tensor: int, shape: Sequence[int], places: Sequence[int]) -> int:
    """(x - mean) / sqrt(variance + epsilon) along these dimensions of the tensor."""
    if len(shape) > LONGEST_BROADCAST:
        groups = in_groups([None if d == 1 else p in places for p, d in enumerate(shape)])
        sizes = [math.prod(shape[p] for p in group) for group in groups]
        inside = [i for i, group in enumerate(groups) if any(p in places and shape[p] > 1 for p in group)]
        if len(sizes) <= LONGEST_BROADCAST and inside:
            return to.reshape(_normal(to, node, to.reshape(tensor, sizes), sizes, inside), shape)
    mean = _mean(to, tensor, shape, places)
    centred = to.temporary("SUB", [tensor, mean], shape, options=schema.SubOptionsT())
    return _unit(to, node, centred, shape, places)


def _unit(to: Lowering, node: onnx.NodeProto, tensor: int, shape: Sequence[int], places: Sequence[int]) -> int:
    """x / sqrt(mean of x² + epsilon) along these dimensions of the tensor."""
    small = [1 if p in places else d for p, d in enumerate(shape)]
    squared = to.temporary("MUL", [tensor, tensor], shape, options=schema.MulOptionsT())
    inputs = [_mean(to, squared, shape, places), to.floats([attribute(node, "epsilon", 1e-5)])]
    variance = to.temporary("ADD", inputs, small, options=schema.AddOptionsT())
    inverse = to.temporary("RSQRT", [variance], small)
    return to.temporary("MUL", [tensor, inverse], shape, options=schema.MulOptionsT())


def _mean(to: Lowering, tensor: int, shape: Sequence[int], places: Sequence[int]) -> int:
    options = schema.ReducerOptionsT()
    options.keepDims = True
    small = [1 if p in places else d for p, d in enumerate(shape)]
    return to.temporary("MEAN", [tensor, to.ints(places)], small, options=options)


def _affine(to: Lowering, node: onnx.NodeProto, tensor: int, order: Order, after: int) -> None:
    """Writes the result: multiplied by the second input, plus the third. `after`: the axes to the right of
    theirs."""

    def weight(position: int, what: str) -> int:
        value = to.fixed(position, what)
        value = value.reshape((*value.shape, *[1] * after))
        return to.floats(value.reshape((1,) * (len(order) - value.ndim) + value.shape).transpose(order))

    options, inputs, result = schema.MulOptionsT(), [tensor, weight(1, "scale")], node.output[0]
    if len(node.input) < 3 or not node.input[2]:
        to.put(result, "MUL", inputs, order, options)
        return
    scaled = to.temporary("MUL", inputs, arrange(to.shape(result), order), options=options)
    to.put(result, "ADD", [scaled, weight(2, "shift")], order, schema.AddOptionsT())


@lowers("LpNormalization")
def length_one(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    axis, norm = attribute(node, "axis", -1) % len(order), attribute(node, "p", 2)
    stored = arrange(to.shape(x), order)
    small = arrange([1 if a == axis else d for a, d in enumerate(to.shape(x))], order)
    options = schema.ReducerOptionsT()
    options.keepDims = True
    sizes = to.temporary("SQUARE" if norm == 2 else "ABS", [to.take(x)], stored)
    inputs = [sizes, to.ints([order.index(axis)])]
    length = to.temporary("SUM", inputs, small, options=options)
    if norm == 2:
        length = to.temporary("SQRT", [length], small)
    to.put(node.output[0], "DIV", [to.take(x), length], order, schema.DivOptionsT())
