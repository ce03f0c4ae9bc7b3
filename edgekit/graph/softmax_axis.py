"""Pass: softmax over the last axis.

Requires: fixed shapes. Ensures: the same values; runtimes walk memory in order instead of jumping
(a distribution focal head takes its softmax over 16 bins that lie thousands of values apart).
"""

from __future__ import annotations

import onnx
from onnx import helper

from edgekit.graph.view import GraphView, attribute


def softmax_on_last_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = GraphView(result)
    nodes = list(result.graph.node)
    del result.graph.node[:]
    for node in nodes:
        rank = len(view.shape(node.output[0])) if node.op_type == "Softmax" else 0
        axis = attribute(node, "axis", -1) % rank if rank else 0
        if not rank or axis == rank - 1:
            result.graph.node.append(node)
            continue
        swap = list(range(rank))
        swap[axis], swap[-1] = swap[-1], swap[axis]
        before, after = f"{node.output[0]}_moved", f"{node.output[0]}_softmax"
        result.graph.node.extend(
            [
                helper.make_node("Transpose", [node.input[0]], [before], f"{node.name}_move", perm=swap),
                helper.make_node("Softmax", [before], [after], node.name, axis=-1),
                helper.make_node("Transpose", [after], [node.output[0]], f"{node.name}_back", perm=swap),
            ]
        )
    return result
