"""Pass: average pooling without padding as a depthwise convolution with constant weights.

Requires: fixed shapes, constants folded. Ensures: the same function (each output is the same
weighted sum). Quantised runtimes fuse convolutions and often have no fast integer AveragePool.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.graph.view import GraphView, attribute


def pool_to_conv(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    view = GraphView(result)
    for node in result.graph.node:
        shape = view.shape(node.output[0])
        plain = not any(attribute(node, "pads", [0])) and not attribute(node, "ceil_mode", 0)
        if node.op_type != "AveragePool" or not plain or len(shape) != 4 or shape[1] < 1:
            continue
        if attribute(node, "auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            continue
        kernel, strides = attribute(node, "kernel_shape"), attribute(node, "strides", [1, 1])
        name, channels = f"{node.name}_mean", shape[1]
        mean = np.full((channels, 1, *kernel), 1 / math.prod(kernel), np.float32)
        result.graph.initializer.append(numpy_helper.from_array(mean, name))
        node.op_type = "Conv"
        node.input.append(name)
        del node.attribute[:]
        for key, value in (("group", channels), ("kernel_shape", kernel), ("strides", strides)):
            node.attribute.append(helper.make_attribute(key, value))
    return result
