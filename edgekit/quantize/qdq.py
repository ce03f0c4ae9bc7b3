"""Quantise/dequantise pairs around nodes of an ONNX graph, by ONNX Runtime's own writer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

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
    writer.model = _quick_model(writer.model.model)
    result: onnx.ModelProto = writer.quantize_model()
    return result


def _quick_model(model: onnx.ModelProto) -> Any:
    """The writer's own form of a graph. It renames a tensor several thousand times, and looks at each input of each
    node every time: what takes most of the writing is only asked of nodes that have it."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    class QuickModel(ONNXModel):  # type: ignore[misc]  # of a library without types
        def replace_input_of_all_nodes(self, old_input_name: str, new_input_name: str) -> None:
            for node in self.model.graph.node:
                if old_input_name in node.input:
                    self.replace_node_input(node, old_input_name, new_input_name)

    return QuickModel(model)


def write_alone(
    graph: onnx.ModelProto, regions: Regions, ranges: dict[str, Range], unit: Collection[str]
) -> onnx.ModelProto:
    """What `write` gives for the few nodes of `unit`, in half the time: the writer, which goes through a graph several
    times, is shown only them. `graph` has its shapes inferred; where they could not be, `write` sees all of it."""
    own = [n for n in graph.graph.node if n.name in unit]
    others = [n for n in graph.graph.node if n.name not in unit]
    makes, reads = {name for n in own for name in n.output}, {name for n in own for name in n.input if name}
    constants = [t for t in graph.graph.initializer if t.name in reads]
    values = {v.name: v for v in (*graph.graph.value_info, *graph.graph.input, *graph.graph.output)}
    given = reads - makes - {t.name for t in constants}
    if not values.keys() >= makes | given:
        return write(graph, regions, ranges, unit)
    shared = sorted((makes | reads) & {name for n in others for name in n.input})  # with the rest of the graph
    stand_ins = [onnx.helper.make_node("Identity", [name], [f"{name} elsewhere"]) for name in shared]

    part = onnx.ModelProto(ir_version=graph.ir_version, opset_import=graph.opset_import)
    inputs = [values[name] for name in sorted(given)]
    ends = [values[o.name] for o in graph.graph.output if o.name in makes]
    outputs = [*ends, *(onnx.helper.make_empty_tensor_value_info(n.output[0]) for n in stand_ins)]
    part.graph.CopyFrom(onnx.helper.make_graph([*own, *stand_ins], "unit", inputs, outputs, constants))
    quantised = write(part, regions, ranges, unit)

    # The writer gives whoever reads a rounded tensor another name to read: the stand-ins say which.
    renamed = {
        n.output[0].removesuffix(" elsewhere"): n.input[0] for n in quantised.graph.node if n.op_type == "Identity"
    }
    rest = _reading(others, renamed)
    nodes = [*rest, *(n for n in quantised.graph.node if n.op_type != "Identity")]
    tensors = {t.name: t for t in (*graph.graph.initializer, *quantised.graph.initializer)}
    gone = {name for n in nodes for name in n.output} | (reads - {name for n in nodes for name in n.input})
    kept = [t for name, t in tensors.items() if name not in gone]
    quantised.graph.CopyFrom(
        onnx.helper.make_graph(nodes, graph.graph.name, graph.graph.input, graph.graph.output, kept)
    )
    return quantised


def _reading(nodes: Iterable[onnx.NodeProto], renamed: Mapping[str, str]) -> list[onnx.NodeProto]:
    """The nodes, or copies of them where they read what goes by another name now."""
    result = []
    for node in nodes:
        if any(renamed.get(name, name) != name for name in node.input):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.input[:] = [renamed.get(name, name) for name in node.input]
            node = copy
        result.append(node)
    return result
