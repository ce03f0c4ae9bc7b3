"""Pass: channels that are put in another order before a convolution are read in that order by its
weights instead.

Requires: constants folded. Ensures: the same function. Space-to-depth stems (YOLOX) leave such a
gather behind, which moves the largest feature map of the network.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.graph.view import GraphView, attribute


def fold_gather(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = GraphView(result)
    for gather in [n for n in result.graph.node if n.op_type == "Gather"]:
        shape, picks = view.shape(gather.input[0]), view.array(gather.input[1])
        readers = view.consumers.get(gather.output[0], [])
        if (
            picks is None
            or picks.ndim != 1
            or len(shape) != 4
            or attribute(gather, "axis", 0) % 4 != 1
            or sorted(picks % shape[1]) != list(range(shape[1]))
            or gather.output[0] in view.outputs
            or not readers
            or not all(_reorderable(view, r, gather.output[0]) for r in readers)
        ):
            continue
        for conv in readers:
            weight = view.array(conv.input[1])
            assert weight is not None
            name = f"{conv.name or conv.output[0]}_reordered"
            weight = np.ascontiguousarray(weight[:, np.argsort(picks % shape[1])])
            result.graph.initializer.append(numpy_helper.from_array(weight, name))
            conv.input[0], conv.input[1] = gather.input[0], name
        result.graph.node.remove(gather)
    return result


def _reorderable(view: GraphView, node: onnx.NodeProto, channels: str) -> bool:
    return (
        node.op_type == "Conv"
        and attribute(node, "group", 1) == 1
        and node.input[0] == channels
        and node.input[1] in view.constants
    )
