"""Pass: remove casts of a type to itself.

Requires nothing. Ensures: the same function, without Cast nodes that change no type. Quantisers
leave a Cast in float, and one at the end keeps the output from being integers.
"""

from __future__ import annotations

import onnx

from edgekit.graph.view import GraphView, attribute


def drop_casts(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = GraphView(result)
    outer = set(view.inputs) | set(view.outputs) | set(view.constants)
    for node in list(result.graph.node):
        if node.op_type != "Cast" or view.types.get(node.input[0]) != attribute(node, "to"):
            continue
        before, after = node.input[0], node.output[0]
        if after in view.outputs:
            if before in outer:
                continue
            before, after = after, before  # the graph's own name for it stays
            outer.add(before)
        for other in result.graph.node:
            for names in (other.input, other.output):
                for i, name in enumerate(names):
                    names[i] = before if name == after else name
        result.graph.node.remove(node)
    return result
