"""Quantise/dequantise pairs around nodes of an ONNX graph, by ONNX Runtime's own writer."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx

from edgekit.quantize.ranges import Range
from edgekit.quantize.regions import QUANTISABLE, Regions
from edgekit.quantize.weights import weight_bits


def write(
    graph: onnx.ModelProto, regions: Regions, ranges: dict[str, Range], nodes: Collection[str]
) -> onnx.ModelProto:
    """A copy with `nodes` of the body quantised: int8 weights a channel, uint8 activations."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    copy = onnx.ModelProto()
    copy.CopyFrom(graph)  # the writer changes what it is given
    floats = {n: (np.float32(low), np.float32(high)) for n, (low, high) in ranges.items()}
    writer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=weight_bits() == 7,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, floats),
        nodes_to_quantize=[n for n in regions.body if n in nodes],
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(QUANTISABLE),
        extra_options={},
    )
    result: onnx.ModelProto = writer.quantize_model()
    return result
