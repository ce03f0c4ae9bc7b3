"""ONNX artefacts in the oldest form that their features need: a device's library is rarely the newest.

Writers stamp a file with the newest IR version they know, and readers refuse what is newer than themselves,
whatever it uses. The IR version follows from the operator sets (the table "Versioning" of the ONNX
documentation) and the element types.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

# Element types younger than the operator sets that may hold them, and the IR version that brought each.
_TYPES = {
    **dict.fromkeys((17, 18, 19, 20), 9),  # float8
    **dict.fromkeys((TensorProto.UINT4, TensorProto.INT4), 10),
    23: 11,  # float4e2m1
    24: 12,  # float8e8m0
    **dict.fromkeys((25, 26), 13),  # uint2, int2
}
_OLDEST = 8  # what opset 17, the canonical one, needs


def oldest_ir(model: onnx.ModelProto) -> int:
    """The IR version that the model's operator sets and types need."""
    opsets = [o for o in model.opset_import if o.domain in ("", "ai.onnx", "ai.onnx.ml")]
    needed = [_OLDEST, helper.find_min_ir_version_for(opsets, ignore_unknown=True)]
    needed += [_TYPES.get(t, 0) for t in _types(model.graph)]
    return max(needed)


def _types(graph: onnx.GraphProto) -> set[int]:
    types = {t.data_type for t in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        types.add(value.type.tensor_type.elem_type)
    for node in graph.node:
        for attribute in node.attribute:
            types.add(attribute.t.data_type)
            if attribute.name == "to":
                types.add(attribute.i)
            for inner in (attribute.g, *attribute.graphs):
                types |= _types(inner)
    return types


def write_oldest(file: Path) -> None:
    """Give an ONNX file the lowest IR version that it needs; tensors in other files stay there."""
    model = onnx.load(str(file), load_external_data=False)
    version = oldest_ir(model)
    if version < model.ir_version:
        model.ir_version = version
        file.write_bytes(model.SerializeToString(deterministic=True))


def opset_of(model: onnx.ModelProto) -> int:
    """The version of ONNX's own operators that a graph uses."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)
