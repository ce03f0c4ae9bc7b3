"""Pass: take the image with channels last, as cameras and decoders give it.

Requires: one image input of rank 3 or 4 with channels first. Ensures: the same function of the
transposed image. NPUs and TFLite compute on channels last, so the transpose costs nothing there.
"""

from __future__ import annotations

import dataclasses

import onnx
from onnx import helper

from edgekit.spec import DetectionSpec


def channels_last(model: onnx.ModelProto, spec: DetectionSpec) -> tuple[onnx.ModelProto, DetectionSpec]:
    tensor = spec.input
    if not tensor.layout.endswith("CHW"):
        return model, spec
    batch = len(tensor.shape) - 3  # axes before the image's own
    to_first = [*range(batch), batch + 2, batch, batch + 1]
    result = onnx.ModelProto()
    result.CopyFrom(model)
    inner = f"{tensor.name}_channels_first"
    for node in result.graph.node:
        for i, name in enumerate(node.input):
            if name == tensor.name:
                node.input[i] = inner
    node = helper.make_node("Transpose", [tensor.name], [inner], name=inner, perm=to_first)
    result.graph.node.insert(0, node)
    shape = (*tensor.shape[:batch], *tensor.shape[batch + 1 :], tensor.shape[batch])
    for value in result.graph.input:
        if value.name == tensor.name:
            value.CopyFrom(helper.make_tensor_value_info(tensor.name, onnx.TensorProto.FLOAT, shape))
    layout = tensor.layout.replace("CHW", "HWC")
    return result, dataclasses.replace(spec, input=dataclasses.replace(tensor, shape=shape, layout=layout))
