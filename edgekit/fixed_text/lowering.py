"""One operator after another, from what onnxruntime-genai's builder writes to what NPUs and LiteRT take.

Requires fixed sizes: `step` tokens read at once, `context` tokens seen. Ensures plain ONNX operators
and MatMulNBits, for which a compiler has a form of its own, and nothing of more than four axes.

Heads that share keys stand in rows below each other, so that no key is repeated; keys lie as columns,
as the product with them wants them. The caller rotates nothing and masks nothing in the graph: cosines,
sines and an additive mask come in.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.graph.view import Editor, attribute

_PLAIN = {
    "Abs",
    "Add",
    "Cast",
    "Clip",
    "Concat",
    "Cos",
    "Div",
    "Exp",
    "Gelu",
    "LayerNormalization",
    "MatMul",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Round",
    "Sigmoid",
    "Sin",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
}


@dataclass(frozen=True)
class Rotation:
    """A tensor, and the tables of cosines and sines its heads are to be turned by."""

    tensor: str
    cos: str
    sin: str


@dataclass
class Lowering(Editor):
    """The graph being written. `constants`: of the source; `windows`, `tables`, `layers`: what the
    attention in it asked for; `residuals`: tensors that sum up all before them."""

    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    step: int = 1
    context: int = 1
    head: int = 1  # values in a head
    rotated: dict[str, Rotation] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)  # of mask inputs; 0: none
    tables: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    layers: dict[int, int] = field(default_factory=dict)  # and how many heads of keys they have
    residuals: list[str] = field(default_factory=list)
    half: int = 1  # columns in the tables

    def take(self, node: onnx.NodeProto) -> None:
        """Write `node` in plain operators. Raises ConversionError for one that has no such form."""
        rule = _RULES.get(node.op_type)
        if rule is not None:
            rule(self, node)
        elif node.op_type in _PLAIN and node.domain in ("", "ai.onnx"):
            self.model.graph.node.append(node)
        else:
            raise refused(node, "no rule says what it is in plain operators")

    def named(self, kind: str, output: str, *inputs: str, **attributes: Any) -> None:
        """A node that gives a tensor of the source."""
        self.model.graph.node.append(helper.make_node(kind, list(inputs), [output], output, **attributes))

    def array(self, name: str) -> np.ndarray[Any, Any] | None:
        """The value of a constant of the source."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def mask(self, window: int) -> str:
        """The input that says what is seen: of a window of the latest tokens, or of all."""
        window = 0 if window >= self.context else max(window, 0)
        name = f"mask_{window}" if window else "mask"
        self.windows[name] = window
        return name

    def table(self, cos: str, sin: str) -> tuple[str, str]:
        """The inputs that bring rows of these tables."""
        end = f"_{len(self.tables)}" if self.tables else ""
        return self.tables.setdefault((cos, sin), (f"cos{end}", f"sin{end}"))


def refused(node: onnx.NodeProto, why: str) -> ConversionError:
    return ConversionError(
        f"{node.name or node.op_type} ({node.op_type}) cannot be written for fixed sizes",
        why,
        "convert the model for -t cpu",
    )


def _normalise(low: Lowering, node: onnx.NodeProto) -> None:
    _root_mean_square(low, node, node.input[0], node.input[1])


def _root_mean_square(low: Lowering, node: onnx.NodeProto, x: str, weight: str) -> None:
    epsilon = attribute(node, "epsilon", 1e-5)
    low.named("RMSNormalization", node.output[0], x, weight, axis=-1, epsilon=epsilon)


def _skip_normalise(low: Lowering, node: onnx.NodeProto) -> None:
    """The sum is the fourth output, and the end of everything that came before."""
    inputs = [*node.input, "", "", ""]
    simple = node.op_type == "SkipSimplifiedLayerNormalization"
    bias = inputs[3] if simple else inputs[4]
    total = node.output[3] if len(node.output) > 3 and node.output[3] else f"{node.output[0]}/sum"
    x = low.op("Add", inputs[0], bias) if bias else inputs[0]
    low.named("Add", total, x, inputs[1])
    low.residuals.append(total)
    if simple:
        _root_mean_square(low, node, total, inputs[2])
    else:
        beta = [inputs[3]] if inputs[3] else []
        low.named(
            "LayerNormalization",
            node.output[0],
            total,
            inputs[2],
            *beta,
            axis=-1,
            epsilon=attribute(node, "epsilon", 1e-12),
        )


def _matmul(low: Lowering, node: onnx.NodeProto) -> None:
    """On two axes: see graph/flat_matmul.py."""
    weight = low.constants.get(node.input[1])
    if weight is None or len(weight.dims) != 2:
        raise refused(node, "its weight is no constant with two axes")
    product = low.op("MatMul", low.reshape(node.input[0], -1, weight.dims[0]), node.input[1])
    low.named("Reshape", node.output[0], product, low.ints(1, -1, weight.dims[1]))


def _matmul_nbits(low: Lowering, node: onnx.NodeProto) -> None:
    """The compiler wants whole blocks and three axes. Without the accuracy level, under which a CPU
    rounds the inputs."""
    columns, block = attribute(node, "K"), attribute(node, "block_size")
    inputs = [*node.input, "", "", ""]
    x, short = inputs[0], -columns % block
    if inputs[4]:
        raise refused(node, "its columns are in another order (g_idx)")
    if short:
        x = low.op("Pad", x, low.ints(0, 0, 0, 0, 0, short))
    given = [x, *inputs[1:3], *([inputs[3]] if inputs[3] else [])]
    bias = inputs[5]
    product = f"{node.output[0]}/product" if bias else node.output[0]
    low.named(
        "MatMulNBits",
        product,
        *given,
        domain="com.microsoft",
        K=columns + short,
        N=attribute(node, "N"),
        bits=attribute(node, "bits", 4),
        block_size=block,
    )
    if bias:
        low.named("Add", node.output[0], product, bias)


def _gather(low: Lowering, node: onnx.NodeProto) -> None:
    """Of all positions the last, which is the only one whose prediction is wanted."""
    index = low.array(node.input[1])
    if index is None or index.ndim or int(index) != -1 or attribute(node, "axis", 0) != 1:
        raise refused(node, "it does not take the last position")
    last = node.input[0] if low.step == 1 else low.slice(node.input[0], 1, low.step - 1, low.step)
    low.named("Squeeze", node.output[0], last, low.ints(1))


def _reshape(low: Lowering, node: onnx.NodeProto) -> None:
    """A 0 repeats a size, which for the first axis is 1."""
    shape = low.array(node.input[1])
    if shape is None or (shape[1:] == 0).any():
        raise refused(node, "its shape is not known")
    low.named("Reshape", node.output[0], node.input[0], low.ints(*(int(d) or 1 for d in shape)))


def _quick_gelu(low: Lowering, node: onnx.NodeProto) -> None:
    scaled = low.op("Mul", node.input[0], low.const(attribute(node, "alpha", 1.702)))
    low.named("Mul", node.output[0], node.input[0], low.op("Sigmoid", scaled))


def _gelu(low: Lowering, node: onnx.NodeProto) -> None:
    how = "tanh" if node.op_type == "FastGelu" else attribute(node, "approximate", b"none")
    x = low.op("Add", *node.input) if len(node.input) > 1 and node.input[1] else node.input[0]
    low.named("Gelu", node.output[0], x, approximate=how)


def _rotary(low: Lowering, node: onnx.NodeProto) -> None:
    """Done by the attention that follows, where heads lie as it wants them."""
    if attribute(node, "interleaved", 0):
        raise refused(node, "it rotates neighbours (interleaved)")
    low.rotated[node.output[0]] = Rotation(node.input[0], node.input[2], node.input[3])


def _attention(low: Lowering, node: onnx.NodeProto) -> None:
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
    seen = low.reshape(low.op("MatMul", weights, values), groups, heads // groups, step, size)
    low.named("Reshape", node.output[0], low.transpose(seen, 2, 0, 1, 3), low.ints(1, step, heads * size))


def _layer(node: onnx.NodeProto) -> int:
    """From `past_key_values.3.key`."""
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


_RULES: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "FastGelu": _gelu,
    "Gather": _gather,
    "Gelu": _gelu,
    "GroupQueryAttention": _attention,
    "MatMul": _matmul,
    "MatMulNBits": _matmul_nbits,
    "QuickGelu": _quick_gelu,
    "Reshape": _reshape,
    "RotaryEmbedding": _rotary,
    "SimplifiedLayerNormalization": _normalise,
    "SkipLayerNormalization": _skip_normalise,
    "SkipSimplifiedLayerNormalization": _skip_normalise,
}
