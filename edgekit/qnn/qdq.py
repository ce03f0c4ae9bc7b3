"""Quantise/dequantise pairs as Qualcomm's compiler takes them: 8 or 16 bits a tensor.

Weights are int8, of convolutions a channel. ONNX Runtime's writer and its rules for QNN do the
work; what they do not know is said here, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.quantize.ranges import Range
from edgekit.runtime.engine import Array

_CONVOLUTIONS = ("Conv", "ConvTranspose")
_DATA_ONLY = ("Resize", "Clip", "Pad", "Slice", "Reshape", "Gather")  # the rest of their inputs is shapes


def write(
    graph: onnx.ModelProto,
    narrow: Mapping[str, Range],
    full: Mapping[str, Range],
    wide: Collection[str],
    floats: Collection[str],
) -> onnx.ModelProto:
    """A copy whose nodes compute on 8 bits, those named in `wide` on 16, in `floats` as before.

    `narrow`: ranges of tensors of 8 bits; `full`: extremes, for those of 16.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)  # the writer changes what it is given
    nodes = [n for n in copy.graph.node if n.name in wide and n.name not in floats]
    all_wide = all(n.name in wide or n.name in floats for n in copy.graph.node)
    activations = QuantType.QUInt16 if all_wide else QuantType.QUInt8
    outputs = {o for n in nodes for o in n.output}
    config = get_qnn_qdq_config(
        copy,
        None,
        activation_type=activations,
        weight_type=QuantType.QInt8,
        per_channel=True,
        init_overrides=_overrides(copy, nodes, set() if all_wide else outputs) or None,
        nodes_to_exclude=sorted(floats) or None,
    )
    ranges = {n: full[n] if n in outputs else r for n, r in {**full, **narrow}.items()}
    writer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=activations,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax, {n: (np.float32(a), np.float32(b)) for n, (a, b) in ranges.items()}
        ),
        nodes_to_quantize=[],
        nodes_to_exclude=sorted(floats),
        op_types_to_quantize=sorted(config.op_types_to_quantize),
        extra_options={
            **{k: v for k, v in config.extra_options.items() if v is not None},
            "ForceQuantizeNoInputCheck": True,  # or the image that a Transpose reads stays in float
        },
    )
    writer.quantize_model()
    writer.model.topological_sort()  # the writer appends; ONNX wants makers before readers
    result: onnx.ModelProto = writer.model.model
    return result


def _overrides(
    graph: onnx.ModelProto, nodes: list[onnx.NodeProto], outputs: Collection[str]
) -> dict[str, list[dict[str, object]]]:
    """The types of tensors that are not what the writer would choose."""
    from onnxruntime.quantization import QuantType

    overrides: dict[str, list[dict[str, object]]] = {o: [{"quant_type": QuantType.QUInt16}] for o in outputs}
    constants = {t.name: t for t in graph.graph.initializer}
    for node in nodes:
        if node.op_type in _CONVOLUTIONS:
            continue
        data = node.input[:1] if node.op_type in _DATA_ONLY else node.input
        for name in data:
            value = constants.get(name)
            if value is None or value.data_type != onnx.TensorProto.FLOAT:
                continue
            if node.op_type in ("MatMul", "Gemm"):
                overrides.update(_exact(name, numpy_helper.to_array(value)))
            else:  # anchors and strides multiply pixels: 8 bits of them are pixels of error
                overrides[name] = [{"quant_type": QuantType.QUInt16}]
    return overrides


def _exact(name: str, weights: Array) -> dict[str, list[dict[str, object]]]:
    """The scale for small whole numbers, such as the bins of a distribution (DFL), which are exact with it."""
    from onnxruntime.quantization import QuantType

    if not (np.array_equal(weights, np.rint(weights)) and np.abs(weights).max(initial=0) <= 127):
        return {}
    one, none = np.array(1, np.float32), np.array(0, np.int8)
    return {name: [{"quant_type": QuantType.QInt8, "scale": one, "zero_point": none}]}
