"""Pass: remove what is not computation.

Requires nothing. Ensures: no metadata, doc strings or source paths; no dead nodes; tensors and
nodes named by position, so that the same source gives the same bytes on every machine.
"""

from __future__ import annotations

import onnx


def clean(model: onnx.ModelProto) -> onnx.ModelProto:
    return clean_names(model)[0]


def clean_names(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The cleaned graph, and what each of its nodes was called before."""
    import onnx_ir
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedNodesPass, RemoveUnusedOpsetsPass

    copy = onnx.ModelProto()
    copy.CopyFrom(model)  # the passes below rename tensors where they lie
    ir = onnx_ir.from_proto(copy)
    for step in (RemoveUnusedNodesPass(), RemoveUnusedOpsetsPass(), ClearMetadataAndDocStringPass()):
        step(ir)
    ir.metadata_props.clear()
    ir.producer_name, ir.producer_version, ir.domain = "edgekit", "", ""
    ir.graph.name = "edgekit"
    keep = {v.name for v in (*ir.graph.inputs, *ir.graph.outputs)}
    names = {}
    for index, node in enumerate(ir.graph):
        before, node.name = node.name, f"{index}_{node.op_type}"
        names[node.name] = before or ""
        for position, value in enumerate(node.outputs):
            if value.name and value.name not in keep:
                value.name = f"{node.name}:{position}"
    for index, initializer in enumerate(list(ir.graph.initializers.values())):
        if initializer.name not in keep:  # an output that folded to a constant
            initializer.name = f"weight_{index}"
    proto = onnx_ir.to_proto(ir)
    del proto.graph.value_info[:]
    return proto, names
