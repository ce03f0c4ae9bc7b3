"""Operators that work on each element: arithmetic, activations, comparisons, casts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import Order, arrange, in_groups
from edgekit.tflite.state import Lowering, lowers

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


_UNARY = {
    "Relu": "RELU",
    "Sigmoid": "LOGISTIC",
    "Tanh": "TANH",
    "Exp": "EXP",
    "Log": "LOG",
    "Sqrt": "SQRT",
    "Abs": "ABS",
    "Neg": "NEG",
    "Floor": "FLOOR",
    "Ceil": "CEIL",
    "Round": "ROUND",
    "Sin": "SIN",
    "Cos": "COS",
    "Sign": "SIGN",
    "Not": "LOGICAL_NOT",
    "HardSwish": "HARD_SWISH",
}
_BINARY = {
    "Add": "ADD",
    "Sub": "SUB",
    "Mul": "MUL",
    "Div": "DIV",
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
    "And": "LOGICAL_AND",
    "Or": "LOGICAL_OR",
    "Xor": "NOT_EQUAL",
    "Where": "SELECT_V2",
    "PRelu": "PRELU",
}
_OPTIONS = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT, "DIV": schema.DivOptionsT}
_FUSED = schema.ActivationFunctionType
LONGEST_BROADCAST = 4  # dimensions: tflite-runtime aborts on more in some of these operators


@lowers(*_UNARY)
def unary(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    to.put(node.output[0], _UNARY[node.op_type], [to.take(x)], order)


@lowers(*_BINARY)
def binary(to: Lowering, node: onnx.NodeProto) -> None:
    kind = _BINARY[node.op_type]
    options = _OPTIONS[kind]() if kind in _OPTIONS else None
    arithmetic = options is not None and to.dtype(node.output[0]) == np.float32
    result = fused(to, node, options) if arithmetic else node.output[0]
    combined(to, result, kind, node.input, options)


def combined(
    to: Lowering, result: str, kind: str, names: Sequence[str], options: object = None, dtype: DTypeLike | None = None
) -> None:
    """One operator on values that are broadcast against each other, in one order.

    dtype: what constants become, where ONNX lets types differ.
    """
    shape = to.shape(result)
    order = to.common_order(names, len(shape))
    stored = arrange(shape, order)
    shapes = [arrange((1,) * (len(shape) - to.rank(n)) + to.shape(n), order) for n in names]
    if len(shape) <= LONGEST_BROADCAST or len(set(shapes)) == 1:
        inputs = [to.broadcast(name, order, dtype) for name in names]
        to.put(result, kind, inputs, order, options)
        return
    # Neighbours along which all are broadcast alike become one dimension.
    groups = in_groups([None if d == 1 else tuple(s[i] == 1 for s in shapes) for i, d in enumerate(stored)])
    whole = len(groups) > LONGEST_BROADCAST  # as a last resort each has all its values
    inputs = [_grouped(to, n, order, stored, [list(range(len(shape)))] if whole else groups, dtype) for n in names]
    sizes = [math.prod(stored)] if whole else [math.prod(stored[d] for d in group) for group in groups]
    tensor = to.temporary(kind, inputs, sizes, to.dtype(result), options)
    to.alias(result, to.reshape(tensor, stored, to.dtype(result)), order)


def _grouped(
    to: Lowering, name: str, order: Order, stored: tuple[int, ...], groups: list[list[int]], dtype: DTypeLike | None
) -> int:
    """An operand with one dimension for each group, repeated where a group holds it in part."""
    own = arrange((1,) * (len(order) - to.rank(name)) + to.shape(name), order)
    whole = [math.prod(stored[d] for d in group) for group in groups]
    sizes = [math.prod(own[d] for d in group) for group in groups]
    repeated = any(size not in (1, full) for size, full in zip(sizes, whole))
    value = to.constant(name)
    if value is not None:
        value = value.reshape((1,) * (len(order) - value.ndim) + value.shape).transpose(order)
        value = np.broadcast_to(value, stored).reshape(whole) if repeated else value.reshape(sizes)
        return to.writer.constant(value.astype(dtype or value.dtype))
    tensor = to.broadcast(name, order)
    if repeated:
        repeats = to.ints([d // o for d, o in zip(stored, own)])
        tensor, sizes = to.temporary("TILE", [tensor, repeats], stored, to.dtype(name)), whole
    return to.reshape(tensor, sizes, to.dtype(name))


@lowers("Pow")
def power(to: Lowering, node: onnx.NodeProto) -> None:
    x, exponent = node.input[0], to.constant(node.input[1])
    simple = {2.0: "SQUARE", 0.5: "SQRT"}
    if exponent is not None and exponent.size == 1 and to.rank(x) == to.rank(node.output[0]):
        kind = simple.get(float(exponent.ravel()[0]))
        if kind and to.dtype(x) == np.float32:
            to.put(node.output[0], kind, [to.take(x)], to.order(x))
            return
    combined(to, node.output[0], "POW", node.input, dtype=to.dtype(x))


_CHAINS = {"Max": "MAXIMUM", "Min": "MINIMUM", "Sum": "ADD"}


@lowers(*_CHAINS)
def chain(to: Lowering, node: onnx.NodeProto) -> None:
    """Combines any number of operands, two at a time."""
    kind, names = _CHAINS[node.op_type], list(node.input)
    if len(names) == 1:
        to.alias(node.output[0], to.take(names[0]), to.order(names[0]))
    for place in range(1, len(names)):
        result = node.output[0]
        pair = names[place - 1 : place + 1]
        if place < len(names) - 1:
            result = _unnamed(to, result, np.broadcast_shapes(*map(to.shape, pair)), place)
        combined(to, result, kind, pair, _OPTIONS[kind]() if kind in _OPTIONS else None)
        names[place] = result


def _unnamed(to: Lowering, result: str, shape: tuple[int, ...], step: int) -> str:
    """Registers an intermediate value of `result` as if the ONNX graph had it, and returns its name."""
    name = f"{result}/step_{step}"
    to.view.types[name], to.view.shapes[name] = to.view.types[result], shape
    return name


@lowers("Clip")
def clip(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    order, dtype = to.order(x), to.dtype(x)
    bounds = limits(to, node)
    if dtype == np.float32 and bounds in _BOUNDED:
        to.put(result, _BOUNDED[bounds], [to.take(x)], order)
        return
    steps = [
        (kind, node.input[place])
        for place, kind in ((1, "MAXIMUM"), (2, "MINIMUM"))
        if len(node.input) > place and node.input[place]
    ]
    if not steps:
        to.alias(result, to.take(x), order)
    if len(steps) > 1:
        between = _unnamed(to, result, to.shape(x), 1)
        combined(to, between, steps[0][0], [x, steps[0][1]])
        x = between
    if steps:
        combined(to, result, steps[-1][0], [x, steps[-1][1]])


_BOUNDED: dict[tuple[float, float] | None, str] = {
    (0.0, math.inf): "RELU",
    (0.0, 6.0): "RELU6",
    (-1.0, 1.0): "RELU_N1_TO_1",
    (0.0, 1.0): "RELU_0_TO_1",
}


def limits(to: Lowering, node: onnx.NodeProto) -> tuple[float, float] | None:
    """The limits of a Clip, or None when they are computed."""
    bounds = []
    for position, default in ((1, -math.inf), (2, math.inf)):
        name = node.input[position] if len(node.input) > position else ""
        value = to.constant(name)
        if name and value is None:
            return None
        bounds.append(default if value is None else float(value.ravel()[0]))
    return bounds[0], bounds[1]


def fused(to: Lowering, node: onnx.NodeProto, options: Any) -> str:
    """Put an activation that alone reads this node into `options`; returns the value written then."""
    result = node.output[0]
    reader = to.only_reader(result)
    if reader is None or reader.op_type not in ("Relu", "Clip"):
        return result
    kind = _FUSED.RELU
    if reader.op_type == "Clip":
        bounds = limits(to, reader)
        if bounds not in ((0.0, 6.0), (0.0, math.inf)) or reader.input[0] != result:
            return result
        kind = _FUSED.RELU6 if bounds == (0.0, 6.0) else _FUSED.RELU
    options.fusedActivationFunction = kind
    to.done.add(reader.output[0])
    return reader.output[0]


@lowers("Cast", "Identity", "Dropout")
def cast(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    have, want, order = to.dtype(x), to.dtype(result), to.order(x)
    if have == want:
        to.alias(result, to.take(x), order)
    else:
        to.put(result, "CAST", [to.take(x)], order, schema.CastOptionsT())


@lowers("Reciprocal")
def reciprocal(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    to.put(node.output[0], "DIV", [to.floats([1.0]), to.take(x)], order, schema.DivOptionsT())


@lowers("Mod")
def mod(to: Lowering, node: onnx.NodeProto) -> None:
    if attribute(node, "fmod", 0):
        raise to.cannot("TFLite's remainder takes the sign of the divisor, not of the dividend")
    combined(to, node.output[0], "FLOOR_MOD", node.input)
