"""Activations that TFLite has with options, or that several of its operators make up."""

from __future__ import annotations

import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import arrange
from edgekit.tflite.state import Lowering, lowers

_OPTIONS = {"ADD": schema.AddOptionsT, "SUB": schema.SubOptionsT, "MUL": schema.MulOptionsT, "DIV": schema.DivOptionsT}


@lowers("LeakyRelu")
def leaky_relu(to: Lowering, node: onnx.NodeProto) -> None:
    options = schema.LeakyReluOptionsT()
    options.alpha = attribute(node, "alpha", 0.01)
    x, order = node.input[0], to.order(node.input[0])
    to.put(node.output[0], "LEAKY_RELU", [to.take(x)], order, options)


@lowers("Elu")
def elu(to: Lowering, node: onnx.NodeProto) -> None:
    x, order, result = node.input[0], to.order(node.input[0]), node.output[0]
    alpha = attribute(node, "alpha", 1.0)
    if alpha == 1:
        to.put(result, "ELU", [to.take(x)], order)
        return
    shape = arrange(to.shape(x), order)
    bent = to.temporary("ELU", [to.temporary("MINIMUM", [to.take(x), to.floats([0.0])], shape)], shape)
    scaled = to.temporary("MUL", [bent, to.floats([alpha])], shape, options=schema.MulOptionsT())
    positive = to.temporary("RELU", [to.take(x)], shape)
    to.put(result, "ADD", [scaled, positive], order, schema.AddOptionsT())


@lowers("Gelu")
def gelu(to: Lowering, node: onnx.NodeProto) -> None:
    options = schema.GeluOptionsT()
    options.approximate = attribute(node, "approximate", b"none") == b"tanh"
    x, order = node.input[0], to.order(node.input[0])
    to.put(node.output[0], "GELU", [to.take(x)], order, options)


@lowers("HardSigmoid")
def hard_sigmoid(to: Lowering, node: onnx.NodeProto) -> None:
    x, order = node.input[0], to.order(node.input[0])
    shape = arrange(to.shape(x), order)
    slope, offset = attribute(node, "alpha", 0.2), attribute(node, "beta", 0.5)
    scaled = to.temporary("MUL", [to.take(x), to.floats([slope])], shape, options=schema.MulOptionsT())
    moved = to.temporary("ADD", [scaled, to.floats([offset])], shape, options=schema.AddOptionsT())
    to.put(node.output[0], "RELU_0_TO_1", [moved], order)


@lowers("Softplus", "Mish")
def softplus(to: Lowering, node: onnx.NodeProto) -> None:
    """log(1 + exp(x)) as relu(x) + log(1 + exp(-|x|)), which does not overflow."""
    x, order = node.input[0], to.order(node.input[0])
    shape = arrange(to.shape(x), order)
    tensor = to.take(x)
    size = to.temporary("ABS", [tensor], shape)
    small = to.temporary("EXP", [to.temporary("NEG", [size], shape)], shape)
    grown = to.temporary("ADD", [small, to.floats([1.0])], shape, options=schema.AddOptionsT())
    rest = to.temporary("LOG", [grown], shape)
    positive = to.temporary("RELU", [tensor], shape)
    if node.op_type == "Softplus":
        to.put(node.output[0], "ADD", [positive, rest], order, schema.AddOptionsT())
        return
    plus = to.temporary("ADD", [positive, rest], shape, options=schema.AddOptionsT())
    factor = to.temporary("TANH", [plus], shape)
    to.put(node.output[0], "MUL", [tensor, factor], order, schema.MulOptionsT())


_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


@lowers("Erf")
def erf(to: Lowering, node: onnx.NodeProto) -> None:
    """Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26: error below 1.5e-7."""
    x, order = node.input[0], to.order(node.input[0])
    shape = arrange(to.shape(x), order)

    def op(kind: str, *inputs: int) -> int:
        options = _OPTIONS[kind]() if kind in _OPTIONS else None
        return to.temporary(kind, inputs, shape, options=options)

    tensor, one = to.take(x), to.floats([1.0])
    size = op("ABS", tensor)
    t = op("DIV", one, op("ADD", op("MUL", size, to.floats([0.3275911])), one))
    series = op("MUL", t, to.floats([_ERF[-1]]))
    for factor in _ERF[-2::-1]:
        series = op("MUL", op("ADD", series, to.floats([factor])), t)
    fallen = op("EXP", op("NEG", op("MUL", size, size)))
    positive = op("SUB", one, op("MUL", series, fallen))
    to.put(node.output[0], "MUL", [op("SIGN", tensor), positive], order, schema.MulOptionsT())
