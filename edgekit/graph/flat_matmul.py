"""Pass: products with constant weights on two axes.

Requires: fixed shapes. Ensures: the same function; no MatMul by a constant has an operand of more
than two axes. Qualcomm's compiler (QAIRT 2.51) computes some of those wrongly: of 4×2100 rows of 8
it gets the last ones wrong, in float and in integers, and of 4×2112 it does not.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.graph.view import GraphView


def flat_matmul(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = GraphView(result)
    nodes = list(result.graph.node)
    del result.graph.node[:]
    for node in nodes:
        weight = view.array(node.input[1]) if node.op_type == "MatMul" else None
        shape = view.shape(node.input[0])
        if weight is None or len(shape) < 3 or weight.ndim > 2 or min(shape) < 1:
            result.graph.node.append(node)
            continue
        result.graph.node.extend(
            _flat(result.graph, node, weight.reshape(len(weight), -1), shape, view.shape(node.output[0]))
        )
    return result


def _flat(
    graph: onnx.GraphProto, node: onnx.NodeProto, weight: np.ndarray, shape: tuple[int, ...], final: tuple[int, ...]
) -> list[onnx.NodeProto]:
    def constant(name: str, value: np.ndarray) -> str:
        graph.initializer.append(numpy_helper.from_array(value, f"{node.name}_{name}"))
        return f"{node.name}_{name}"

    rows, product = f"{node.name}_rows", f"{node.name}_product"
    to_rows = constant("to_rows", np.array([math.prod(shape[:-1]), shape[-1]], np.int64))
    to_final = constant("to_final", np.array(final, np.int64))
    return [
        helper.make_node("Reshape", [node.input[0], to_rows], [rows], name=rows),
        helper.make_node("MatMul", [rows, constant("weight", weight)], [product], name=node.name),
        helper.make_node("Reshape", [product, to_final], [node.output[0]], name=f"{node.name}_shape"),
    ]
