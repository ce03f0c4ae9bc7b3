"""Count what a graph holds and does: parameters, and floating-point operations for one image."""

from __future__ import annotations

import math

import onnx

from edgekit.graph.view import GraphView, attribute


def parameters(model: onnx.ModelProto) -> int:
    """Weights and biases of the layers that have them; shape constants and grids do not count."""
    view = GraphView(model)
    names = {
        i
        for node in model.graph.node
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul")
        for i in node.input[1:]
    }
    return sum(math.prod(view.constants[n].dims) for n in names if n in view.constants)


def flops(model: onnx.ModelProto) -> int:
    """Two for each multiply-accumulate of Conv, ConvTranspose, Gemm and MatMul, at batch 1.

    The convention of the YOLO papers' tables; element-wise operations are not counted.
    """
    view = GraphView(model)
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            weight = view.shape(node.input[1])
            pixels = view.shape(node.output[0] if node.op_type == "Conv" else node.input[0])
            total += 2 * math.prod(weight) * math.prod(pixels[2:])
        elif node.op_type in ("Gemm", "MatMul"):
            inner = view.shape(node.input[0])[-1:]
            total += 2 * math.prod(inner) * math.prod(view.shape(node.output[0]))
    return max(total, 0)


def has_operator(model: onnx.ModelProto, phrase: str) -> bool:
    """Whether a graph has an operator, named as `AveragePool`, or `AveragePool 2x2 stride 1`."""
    kind, *rest = phrase.split()
    for node in model.graph.node:
        if node.op_type == kind:
            kernel = "x".join(map(str, attribute(node, "kernel_shape", [])))
            strides = set(attribute(node, "strides", [1]))
            if not rest or rest == [kernel, "stride", *map(str, strides)]:
                return True
    return False
