"""What a compile job does to a graph before a compiler reads it: constants, and its inputs and outputs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit_hub_emulator.artefacts import dtype
from edgekit_hub_emulator.failure import JobError
from edgekit_hub_emulator.options import Options

Quantised = dict[str, tuple[float, int]]
_LAST, _FIRST = [0, 2, 3, 1], [0, 3, 1, 2]


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Constants as initializers: quantisers and compilers look for them there."""
    import onnx_ir
    from onnx_ir.passes.common import LiftConstantsToInitializersPass

    ir = onnx_ir.from_proto(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(ir)
    return onnx_ir.to_proto(ir)


def specify(model: onnx.ModelProto, specs: Sequence[dict[str, Any]]) -> None:
    """Changes `model`: its inputs have the names and the shapes of `specs`."""
    inputs = _inputs(model.graph)
    _take_specs(model.graph, inputs, specs)
    for value in inputs:
        shape = value.type.tensor_type.shape
        if not value.type.tensor_type.HasField("shape") or any(d.dim_value < 1 for d in shape.dim):
            raise JobError(f"Input '{value.name}' has no fixed shape. Give it in input_specs.", "INVALID_INPUTS")


def reshape(model: onnx.ModelProto, options: Options, npu: bool) -> Quantised:
    """Changes `model`. Returns scales and zero points of inputs and outputs that became integers.

    `npu`: the graph must have no 64-bit integers outside.
    """
    graph = model.graph
    inputs = _inputs(graph)
    names = options.names("output_names")
    if names:
        if len(names) != len(graph.output):
            raise JobError(
                f"--output_names has {len(names)} names, and the model has {len(graph.output)} outputs.",
                "INVALID_ARGUMENT",
            )
        for old, new in zip([v.name for v in graph.output], names):
            _rename(graph, old, new)
    _truncate(graph, inputs, options.flag("truncate_64bit_io"), npu)
    for value in _values_named(inputs, options.names("force_channel_last_input")):
        _transpose_input(graph, value)
    for value in _values_named(list(graph.output), options.names("force_channel_last_output")):
        _transpose_output(graph, value)
    del graph.value_info[:]
    return _integers(graph, inputs, options) if options.flag("quantize_io") else {}


def _inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    weights = {t.name for t in graph.initializer}
    return [v for v in graph.input if v.name not in weights]


def _take_specs(graph: onnx.GraphProto, inputs: Sequence[onnx.ValueInfoProto], specs: Sequence[dict[str, Any]]) -> None:
    """Assigns names and shapes by position: names may differ from the model's."""
    if specs and len(specs) != len(inputs):
        raise JobError(f"input_specs has {len(specs)} inputs, and the model has {len(inputs)}.", "INVALID_INPUTS")
    for value, spec in zip(inputs, specs):
        dims = value.type.tensor_type.shape.dim
        fixed = [d.dim_value or None for d in dims]
        fits = len(fixed) == len(spec["shape"]) and all(a in (None, b) for a, b in zip(fixed, spec["shape"]))
        if not fits or dtype(value.type.tensor_type.elem_type) != spec["dtype"]:
            raise JobError(
                f"input_specs says {spec['dtype']}{spec['shape']} for '{spec['name']}', which does not fit "
                f"the model's input '{value.name}'.",
                "INVALID_INPUTS",
            )
        for dim, size in zip(dims, spec["shape"]):
            dim.dim_value = size
        _rename(graph, value.name, spec["name"])


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    if old == new:
        return
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if n == old else n for n in names]
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new


def _truncate(graph: onnx.GraphProto, inputs: Sequence[onnx.ValueInfoProto], option: bool, needed: bool) -> None:
    """64-bit integers outside become those of 32 bits."""
    for place, values in (("input", inputs), ("output", list(graph.output))):
        for value in values:
            kind = value.type.tensor_type
            if kind.elem_type != TensorProto.INT64 or not (option or needed):
                continue
            if not option:
                raise JobError(
                    f"Must use --truncate_64bit_io when {place} tensors have type int64.", "INVALID_ARGUMENT"
                )
            inner = f"{value.name}_64"
            if place == "input":
                _read_instead(graph, value.name, inner)
                graph.node.insert(0, helper.make_node("Cast", [value.name], [inner], to=TensorProto.INT64))
            else:
                _rename_made(graph, value.name, inner)
                graph.node.append(helper.make_node("Cast", [inner], [value.name], to=TensorProto.INT32))
            kind.elem_type = TensorProto.INT32


def _values_named(values: Sequence[onnx.ValueInfoProto], names: Collection[str]) -> list[onnx.ValueInfoProto]:
    matches = [v for v in values if v.name in names]
    missing = set(names) - {v.name for v in matches}
    if missing:
        raise JobError(f"There is no tensor '{min(missing)}' to make channel-last.", "INVALID_ARGUMENT")
    wrong = [v.name for v in matches if len(v.type.tensor_type.shape.dim) != 4]
    if wrong:
        raise JobError(f"'{wrong[0]}' has not four dimensions, so it has no channel-last form.", "INVALID_ARGUMENT")
    return matches


def _transpose_input(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    name, inner = value.name, f"{value.name}_channel_first"
    readers = [n for n in graph.node if name in n.input]
    _read_instead(graph, name, inner)
    if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
        added = _pair(readers[0], name, f"{name}_paired")
        added.append(helper.make_node("Transpose", [f"{name}_paired"], [inner], perm=_FIRST))
    else:
        added = [helper.make_node("Transpose", [name], [inner], perm=_FIRST)]
    for node in reversed(added):
        graph.node.insert(0, node)
    _permute(value)


def _transpose_output(graph: onnx.GraphProto, value: onnx.ValueInfoProto) -> None:
    name, inner = value.name, f"{value.name}_channel_first"
    producer = next(n for n in graph.node if name in n.output)
    _rename_made(graph, name, inner)
    if producer.op_type == "DequantizeLinear":
        graph.node.append(helper.make_node("Transpose", [inner], [f"{name}_paired"], perm=_LAST))
        graph.node.extend(_pair(producer, f"{name}_paired", name))
    else:
        graph.node.append(helper.make_node("Transpose", [inner], [name], perm=_LAST))
    _permute(value)


def _pair(like: onnx.NodeProto, before: str, after: str) -> list[onnx.NodeProto]:
    """A QuantizeLinear and a DequantizeLinear: on the NPU a transpose of quantised numbers needs them on both its
    sides."""
    return [
        helper.make_node("QuantizeLinear", [before, *like.input[1:]], [f"{after}_q"]),
        helper.make_node("DequantizeLinear", [f"{after}_q", *like.input[1:]], [after]),
    ]


def _permute(value: onnx.ValueInfoProto) -> None:
    dims = value.type.tensor_type.shape.dim
    for dim, size in zip(dims, [dims[i].dim_value for i in _LAST]):
        dim.dim_value = size


def _read_instead(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        node.input[:] = [new if n == old else n for n in node.input]


def _rename_made(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if n == old else n for n in names]


def _integers(graph: onnx.GraphProto, inputs: Sequence[onnx.ValueInfoProto], options: Options) -> Quantised:
    """Quantised inputs and outputs are handed over as integers; what is in float stays so."""
    constants = {t.name: t for t in graph.initializer}
    kind = options.text("quantize_io_type")
    quantised: Quantised = {}
    for value in inputs:
        readers = [n for n in graph.node if value.name in n.input]
        if len(readers) == 1 and readers[0].op_type == "QuantizeLinear":
            quantised[value.name] = _retype(value, readers[0], constants, kind)
            _read_instead(graph, readers[0].output[0], value.name)
            graph.node.remove(readers[0])
    for value in graph.output:
        producer = next((n for n in graph.node if value.name in n.output), None)
        alone = not any(value.name in n.input for n in graph.node)
        if producer is not None and producer.op_type == "DequantizeLinear" and alone:
            quantised[value.name] = _retype(value, producer, constants, kind)
            before = producer.input[0]
            graph.node.remove(producer)
            _rename_made(graph, before, value.name)
    return quantised


def _retype(
    value: onnx.ValueInfoProto, node: onnx.NodeProto, constants: dict[str, TensorProto], kind: str
) -> tuple[float, int]:
    scale = constants.get(node.input[1])
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if scale is None or zero is None or numpy_helper.to_array(scale).size != 1:
        raise JobError(f"'{value.name}' is not quantised as a whole, so --quantize_io cannot be honoured.")
    if kind and kind != dtype(zero.data_type):
        raise JobError(f"'{value.name}' is quantised to {dtype(zero.data_type)}, not {kind}.", "INVALID_ARGUMENT")
    value.type.tensor_type.elem_type = zero.data_type
    return float(numpy_helper.to_array(scale)), int(numpy_helper.to_array(zero))
