"""Pass: two parallel convolutions that are added become one (RepVGG, arXiv 2101.03697).

Requires: constants and batch norm folded. Ensures: the same function up to float rounding.
Exporters of YOLOv9 and YOLOv6 leave the 3×3 and 1×1 branches of RepConv apart.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.graph.view import GraphView, attribute


def merge_convs(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = GraphView(result)
    for add in [n for n in result.graph.node if n.op_type == "Add"]:
        pair = [view.producers.get(i) for i in add.input]
        if any(n is None or n.op_type != "Conv" for n in pair):
            continue
        wide, narrow = sorted((n for n in pair if n is not None), key=lambda n: -sum(view.shape(n.input[1])[2:]))
        if not _compatible(view, wide, narrow):
            continue
        weights = [view.array(n.input[1]) for n in (wide, narrow)]
        assert weights[0] is not None
        assert weights[1] is not None
        merged = weights[0].copy()
        merged[:, :, merged.shape[2] // 2, merged.shape[3] // 2] += weights[1][:, :, 0, 0]
        bias = np.zeros(len(merged), merged.dtype)
        for node in (wide, narrow):
            own = view.array(node.input[2]) if len(node.input) > 2 else None
            bias = bias if own is None else bias + own
        names = [f"{add.name}_merged_{part}" for part in ("weight", "bias")]
        for name, value in zip(names, (merged, bias)):
            result.graph.initializer.append(numpy_helper.from_array(value, name))
        del wide.input[1:]
        wide.input.extend(names)
        wide.output[0] = add.output[0]
        # the addition may stand before the wider branch's neighbours; its place is the later one
        result.graph.node.remove(narrow)
        position = list(result.graph.node).index(add)
        result.graph.node.remove(wide)
        result.graph.node.insert(position, wide)
        result.graph.node.remove(add)
    return result


def _compatible(view: GraphView, wide: onnx.NodeProto, narrow: onnx.NodeProto) -> bool:
    a, b = view.shape(wide.input[1]), view.shape(narrow.input[1])
    constants = all(i in view.constants for n in (wide, narrow) for i in n.input[1:])
    same = all(attribute(wide, k, d) == attribute(narrow, k, d) for k, d in (("group", 1), ("strides", [1, 1])))
    alone = all(len(view.consumers.get(n.output[0], [])) == 1 for n in (wide, narrow))
    centred = len(a) == 4 and attribute(wide, "pads") == [a[2] // 2, a[3] // 2] * 2
    return (
        constants
        and same
        and alone
        and centred
        and wide.input[0] == narrow.input[0]
        and b[2:] == (1, 1)
        and a[:2] == b[:2]
        and not any(attribute(narrow, "pads", [0]))
        and a[2] % 2 == 1
        and a[3] % 2 == 1
        and all(attribute(n, "dilations", [1, 1]) == [1, 1] for n in (wide, narrow))
    )
