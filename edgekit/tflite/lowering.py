"""From the canonical ONNX graph to a float32 .tflite, operator by operator.

Each ONNX operator has a function in `edgekit.tflite.operators` that writes the TFLite operators
it becomes. `edgekit.tflite.state` is what these functions share.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx

from edgekit.tflite.operators import HANDLERS
from edgekit.tflite.state import Lowered, Lowering

__all__ = ["Lowered", "lower"]


def lower(
    model: onnx.ModelProto,
    images: Collection[str] = (),
    names: Mapping[str, str] | None = None,
    ids: Collection[str] = (),
) -> Lowered:
    """Requires fixed shapes and weights as initializers. Outputs stay as they are.

    images: inputs that are NCHW, and become NHWC. ids: inputs that are int64, and become int32.
    names: what the user's own file calls each node, for errors.
    Raises ConversionError naming the first node that TFLite has no equivalent of.
    """
    lowering = Lowering(model, images, names or {}, ids)
    for name in lowering.view.inputs:
        lowering.read_input(name)
    for node in lowering.view.model.graph.node:
        lowering.node = node
        if node.output[0] in lowering.done:
            continue
        if node.op_type not in HANDLERS or node.domain not in ("", "ai.onnx"):
            raise lowering.cannot("there is no such operator in TFLite")
        HANDLERS[node.op_type](lowering, node)
    return lowering.finish()
