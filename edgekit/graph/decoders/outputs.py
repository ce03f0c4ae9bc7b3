"""Brings a graph's outputs to one type and rank, and removes those beside them, before a decoder is chosen."""

from __future__ import annotations

import math

import onnx

from edgekit.graph.shapes import spatial_axes
from edgekit.graph.view import GraphView


def as_float32(model: onnx.ModelProto) -> None:
    """Casts float16 and float64 outputs to float32, the type of the decoders' constants."""
    for output in model.graph.output:
        if output.type.tensor_type.elem_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE):
            cast = f"edgekit/float_{output.name}"
            node = onnx.helper.make_node("Cast", [output.name], [cast], to=onnx.TensorProto.FLOAT)
            model.graph.node.append(node)
            output.name = cast
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def candidates_only(model: onnx.ModelProto, source: str) -> tuple[str, ...]:
    """Leaves all candidates of a grid as (1, A, B), where they leave as (A, B) or (1, A, B, 1), and without the maps
    that they were put together from, where these leave as well: what YOLOv5's and its like's export.py writes. A
    note on what was left out."""
    view = GraphView(model)
    shape = view.shape(source)
    rows, columns = (shape[a] for a in spatial_axes(shape))
    maps = {(-(-rows // s), -(-columns // s)) for s in (8, 16, 32, 64)}
    counts = {
        k * sum(-(-rows // s) * -(-columns // s) for s in strides)
        for strides in ((8, 16, 32), (8, 16, 32, 64))
        for k in (1, 3)
    }

    def is_map(name: str) -> bool:
        own = view.shape(name)
        return len(own) in (4, 5) and any(own[i : i + 2] in maps for i in range(len(own) - 1))

    whole = [n for n in view.outputs if counts & set(view.shape(n))]
    beside = [n for n in view.outputs if n not in whole]
    if len(whole) != 1 or (beside and not (len(beside) > 1 and all(map(is_map, beside)))):
        return ()
    candidates = next(o for o in model.graph.output if o.name == whole[0])
    sizes = [d for d in view.shape(whole[0]) if d != 1]
    ranked = view.shape(whole[0])
    if len(ranked) != 3 and len(sizes) == 2 and math.prod(ranked) == math.prod(sizes):
        _reshape(model, candidates, (1, sizes[0], sizes[1]))
    if not beside:
        return ()
    del model.graph.output[:]
    model.graph.output.append(candidates)
    return (f"its outputs {', '.join(beside)} were left out: {whole[0]} holds what they are decoded to",)


def _reshape(model: onnx.ModelProto, output: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    name = f"edgekit/whole_{output.name}"
    model.graph.initializer.append(
        onnx.helper.make_tensor(f"{name}_shape", onnx.TensorProto.INT64, [len(shape)], shape)
    )
    model.graph.node.append(onnx.helper.make_node("Reshape", [output.name, f"{name}_shape"], [name]))
    kind = output.type.tensor_type.elem_type
    output.CopyFrom(onnx.helper.make_tensor_value_info(name, kind, shape))
