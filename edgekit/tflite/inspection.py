"""What is in a .tflite: its inputs and outputs, and the operators that only move data."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from edgekit.spec import DetectionSpec, TensorSpec
from edgekit.tflite.writer import unpack

_DTYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if not name.startswith("_")}
_OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
_BYTES = {"float32": 4, "float16": 2, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "bool": 1, "int64": 8}


@dataclass(frozen=True)
class Inventory:
    """`transposed`: bytes that TRANSPOSE operators move for one image; `floats`: operators that
    compute in floating point."""

    operators: dict[str, int]
    transposed: int
    floats: int

    @property
    def total(self) -> int:
        return sum(self.operators.values())


def take_inventory(data: bytes) -> Inventory:
    model = unpack(data)
    graph = model.subgraphs[0]
    kinds: Counter[str] = Counter()
    moved = floats = 0
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        kinds[kind] += 1
        result = graph.tensors[operator.outputs[0]]
        dtype = _DTYPES[result.type]
        if kind == "TRANSPOSE":
            moved += math.prod(result.shape) * _BYTES[dtype]
        floats += dtype in ("float32", "float16")
    return Inventory(dict(sorted(kinds.items())), moved, floats)


def stored_spec(spec: DetectionSpec, data: bytes) -> DetectionSpec:
    """`spec` with inputs and outputs as they are in the file: order of axes, integers, scales."""
    graph = unpack(data).subgraphs[0]
    tensors = {graph.tensors[i].name.decode(): graph.tensors[i] for i in (*graph.inputs, *graph.outputs)}
    layout = {"NCHW": "NHWC"}.get(spec.input.layout, spec.input.layout)
    return dataclasses.replace(
        spec,
        input=_stored(dataclasses.replace(spec.input, layout=layout), tensors[spec.input.name]),
        outputs=tuple(_stored(o, tensors[o.name]) for o in spec.outputs),
    )


def _stored(tensor: TensorSpec, record: schema.TensorT) -> TensorSpec:
    quantised = record.quantization is not None and record.quantization.scale is not None
    return dataclasses.replace(
        tensor,
        dtype=_DTYPES[record.type],
        shape=tuple(int(d) for d in record.shape),
        scale=float(record.quantization.scale[0]) if quantised else None,
        zero_point=int(record.quantization.zeroPoint[0]) if quantised else 0,
    )
