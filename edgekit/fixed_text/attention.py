"""Attention with a key-value cache of fixed size, and the rotation of its heads, in plain operators.

Heads that share keys stand in rows below each other, so that no key is repeated; keys lie as columns,
as the product with them wants them. The caller rotates nothing and masks nothing in the graph: cosines,
sines and an additive mask come in.
"""

from __future__ import annotations

import itertools
import math

import onnx

from edgekit.fixed_text.state import Lowering, Rotation, refused
from edgekit.graph.view import attribute


def rotary(low: Lowering, node: onnx.NodeProto) -> None:
    """Records the rotation; the attention that follows applies it, where heads are in its order."""
    if attribute(node, "interleaved", 0):
        raise refused(node, "it rotates neighbours (interleaved)")
    low.rotated[node.output[0]] = Rotation(node.input[0], node.input[2], node.input[3])


def attention(low: Lowering, node: onnx.NodeProto) -> None:
    heads, groups = attribute(node, "num_heads"), attribute(node, "kv_num_heads")
    size, step = low.head, low.step
    inputs = [*node.input, *[""] * 9]
    if any(inputs[10:]) or attribute(node, "smooth_softmax", 0) or attribute(node, "rotary_interleaved", 0):
        raise refused(node, "it has a bias, a sink, quantised keys or interleaved rotation")
    q, k, v = inputs[:3]
    if not k:
        widths = low.ints(heads * size, groups * size, groups * size)
        q, k, v = low.ops("Split", q, widths, outputs=3, axis=-1)
    turn = [
        Rotation(x, inputs[7], inputs[8]) if attribute(node, "do_rotary", 0) else low.rotated.get(x) for x in (q, k)
    ]
    queries, keys = (
        _turned(low, node, _heads(low, t.tensor if t else x, groups, n), t)
        for x, t, n in ((q, turn[0], heads // groups), (k, turn[1], 1))
    )
    layer = _layer(node)
    low.layers[layer] = groups
    low.named("Transpose", f"key_{layer}", keys, perm=[0, 1, 3, 2])
    low.named("Transpose", f"value_{layer}", low.reshape(v, step, groups, 1, size), perm=[1, 2, 0, 3])
    keys = low.op("Concat", f"past_key_{layer}", f"key_{layer}", axis=3)
    values = low.op("Concat", f"past_value_{layer}", f"value_{layer}", axis=2)

    scale = attribute(node, "scale", 0.0) or 1 / math.sqrt(size)
    queries = low.op("Mul", queries, low.const(scale))
    rows = (groups, 1, heads // groups * step)
    scores = low.op("MatMul", low.reshape(queries, *rows, size), keys)
    scores = low.reshape(scores, groups, heads // groups, step, low.context)
    cap = attribute(node, "softcap", 0.0)
    if cap:
        scores = low.op("Mul", low.op("Tanh", low.op("Div", scores, low.const(cap))), low.const(cap))
    scores = low.op("Add", scores, low.mask(attribute(node, "local_window_size", -1)))
    weights = low.reshape(low.op("Softmax", scores, axis=-1), *rows, low.context)
    sums = low.reshape(low.op("MatMul", weights, values), groups, heads // groups, step, size)
    low.named("Reshape", node.output[0], low.transpose(sums, 2, 0, 1, 3), low.ints(1, step, heads * size))


def _layer(node: onnx.NodeProto) -> int:
    """The number of the layer, as in `past_key_values.3.key`."""
    return int(node.input[3].split(".")[1])


def _heads(low: Lowering, x: str, groups: int, each: int) -> str:
    """(1, step, heads·size) to (groups, each, step, size)."""
    return low.transpose(low.reshape(x, low.step, groups, each, low.head), 1, 2, 0, 3)


def _turned(low: Lowering, node: onnx.NodeProto, x: str, turn: Rotation | None) -> str:
    if turn is None:
        return x
    table = low.constants.get(turn.cos)
    if table is None or turn.sin not in low.constants:
        raise refused(node, "its tables of rotation change with the length of the text")
    low.half = half = table.dims[1]
    cos, sin = low.table(turn.cos, turn.sin)
    ends = [0, half, 2 * half, *([low.head] if 2 * half < low.head else [])]
    first, second, *rest = (low.slice(x, 3, a, b) for a, b in itertools.pairwise(ends))
    left = low.op("Sub", low.op("Mul", first, cos), low.op("Mul", second, sin))
    right = low.op("Add", low.op("Mul", second, cos), low.op("Mul", first, sin))
    return low.op("Concat", left, right, *rest, axis=3)
