"""One operator after another, from what onnxruntime-genai's builder writes to what NPUs and LiteRT take.

Requires fixed sizes: `step` tokens read at once, `context` tokens seen. Ensures plain ONNX operators
and MatMulNBits, for which a compiler has a form of its own, and nothing of more than four axes.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx

from edgekit.fixed_text.attention import attention, rotary
from edgekit.fixed_text.state import Lowering, refused
from edgekit.graph.view import attribute

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


def _normalise(low: Lowering, node: onnx.NodeProto) -> None:
    _root_mean_square(low, node, node.input[0], node.input[1])


def _root_mean_square(low: Lowering, node: onnx.NodeProto, x: str, weight: str) -> None:
    epsilon = attribute(node, "epsilon", 1e-5)
    low.named("RMSNormalization", node.output[0], x, weight, axis=-1, epsilon=epsilon)


def _skip_normalise(low: Lowering, node: onnx.NodeProto) -> None:
    """Adds and normalises. The sum is the fourth output, and the residual of all layers before."""
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
    """Multiplies matrices of two axes: see graph/flat_matmul.py."""
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
    operands = [x, *inputs[1:3], *([inputs[3]] if inputs[3] else [])]
    bias = inputs[5]
    product = f"{node.output[0]}/product" if bias else node.output[0]
    low.named(
        "MatMulNBits",
        product,
        *operands,
        domain="com.microsoft",
        K=columns + short,
        N=attribute(node, "N"),
        bits=attribute(node, "bits", 4),
        block_size=block,
    )
    if bias:
        low.named("Add", node.output[0], product, bias)


def _gather(low: Lowering, node: onnx.NodeProto) -> None:
    """Takes the last position, the only one whose prediction is needed."""
    index = low.array(node.input[1])
    if index is None or index.ndim or int(index) != -1 or attribute(node, "axis", 0) != 1:
        raise refused(node, "it does not take the last position")
    last = node.input[0] if low.step == 1 else low.slice(node.input[0], 1, low.step - 1, low.step)
    low.named("Squeeze", node.output[0], last, low.ints(1))


def _reshape(low: Lowering, node: onnx.NodeProto) -> None:
    """Reshapes to a known shape; a 0 repeats a size, which for the first axis is 1."""
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


_RULES: dict[str, Callable[[Lowering, onnx.NodeProto], None]] = {
    "FastGelu": _gelu,
    "Gather": _gather,
    "Gelu": _gelu,
    "GroupQueryAttention": attention,
    "MatMul": _matmul,
    "MatMulNBits": _matmul_nbits,
    "QuickGelu": _quick_gelu,
    "Reshape": _reshape,
    "RotaryEmbedding": rotary,
    "SimplifiedLayerNormalization": _normalise,
    "SkipLayerNormalization": _skip_normalise,
    "SkipSimplifiedLayerNormalization": _skip_normalise,
}


def lower(low: Lowering, node: onnx.NodeProto) -> None:
    """Writes `node` in plain operators. Raises ConversionError for one that has no such form."""
    rule = _RULES.get(node.op_type)
    if rule is not None:
        rule(low, node)
    elif node.op_type in _PLAIN and node.domain in ("", "ai.onnx"):
        low.model.graph.node.append(node)
    else:
        raise refused(node, "no rule says what it is in plain operators")
