"""Weights of a language model's graph as float16 or small integers, which LiteRT's kernels take as they are.

Activations are rounded to 8 bits a row while it runs. The tables of cosines and sines stay in float:
rounding them doubles the divergence and saves nothing that counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ai_edge_litert import schema_py_generated as schema

from edgekit.spec import Precision
from edgekit.tflite.quantise import half_weights, recipe_for, written
from edgekit.tflite.writer import unpack

NAMES = {
    Precision.FP32: "float32",
    Precision.FP16: "float16",
    Precision.W8: "int8 a channel",
    Precision.W4: "int4 in blocks of 32; embedding, head and what is no whole blocks: int8 a channel",
}
_BLOCK = 32
_EMBEDDING = r"^(?!(?:cos|sin)(?:_\d+)?/)"


def rounded(data: bytes, precision: Precision, vocabulary: int) -> bytes:
    """`data`: a graph in float32. The same weights become the same bytes in any graph."""
    if precision is Precision.FP32:
        return data
    if precision is Precision.FP16:
        return half_weights(data)
    recipe = recipe_for(data)
    recipe.add_dynamic_config(".*", "FULLY_CONNECTED", 8)
    recipe.add_dynamic_config(_EMBEDDING, "EMBEDDING_LOOKUP", 8)
    small = [re.escape(n) for n in _in_blocks(data, vocabulary)] if precision is Precision.W4 else []
    if small:
        from ai_edge_quantizer.qtyping import QuantGranularity

        recipe.add_dynamic_config(f"^(?:{'|'.join(small)})(?:;|$)", "FULLY_CONNECTED", 4, QuantGranularity.BLOCKWISE_32)
    return written(recipe)


def _in_blocks(data: bytes, vocabulary: int) -> Iterator[str]:
    """The results of products whose weights are whole blocks, but for the head, which shares its 8 bits
    with the embedding."""
    model = unpack(data)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code != schema.BuiltinOperator.FULLY_CONNECTED:
            continue
        rows, columns = graph.tensors[operator.inputs[1]].shape
        if columns % _BLOCK == 0 and rows != vocabulary:
            yield graph.tensors[operator.outputs[0]].name.decode()
