"""BitNet's layers as ONNX: rounded inputs, ternary weights, and what makes the kernel exact.

`exact`: each token's inputs become integers as in training, and MatMulNBits multiplies them as they
are (see layers.ternary.guarded). `fast`: MatMulNBits takes the float inputs and rounds them by block,
finer than in training, so that the numbers are near and not equal. `float`: as exact, with float weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.genai.nbits import Nbits
from edgekit.layers.ternary import SMALLEST, TernaryLinear, guarded, packed

if TYPE_CHECKING:
    from builders.base import Model

    from edgekit.layers.packed import Packed


Mode = Literal["exact", "fast", "float"]
_EXACT_BLOCK = 128


def make(model: Model, layers: list[TernaryLinear], basename: str, root: str, mode: Mode) -> str:
    """Writes nodes for layers side by side on one input; returns the name whose `/output_0` is the result."""
    last = sum(x.out_features for x in layers)
    root = _normalised(model, layers[0], basename, root)
    if mode == "fast":
        block = next(b for b in (128, 64, 32, 16) if layers[0].in_features % b == 0 or b == 16)
        return _matmul_nbits(model, [packed(x, block) for x in layers], f"{basename}NBits", root, last)
    rounded, size = _rounded(model, root, layers[0].in_features)
    if mode == "float":
        name = _matmul_float(model, layers, basename, rounded, last)
    else:
        inputs = _guarded_inputs(model, rounded, layers[0].in_features)
        name = _matmul_nbits(model, [guarded(x, _EXACT_BLOCK) for x in layers], f"{basename}NBits", inputs, last)
    scale = np.concatenate([np.full(x.out_features, x.scale, np.float32) for x in layers])
    if len({x.scale for x in layers}) == 1:
        scale = scale[:1]
    weight = f"{basename[1:].replace('/', '.')}.ternary_scale"
    model.make_initializer(scale, weight)
    _node(model, "Mul", [size, weight], f"{basename}/Scale", [len(scale)])
    return _node(model, "Mul", [f"{name}/output_0", f"{basename}/Scale/output_0"], f"{basename}/Scaled", [last])


def _normalised(model: Model, layer: TernaryLinear, basename: str, root: str) -> str:
    if layer.norm is None:
        return root
    weight = f"{basename[1:].replace('/', '.')}.sub_norm.weight"
    model.make_initializer(layer.norm.weight.detach(), weight, to=model.io_dtype)
    norm: Any = layer.norm
    epsilon = float(getattr(norm, "variance_epsilon", None) or norm.eps)
    name = _node(
        model,
        "SimplifiedLayerNormalization",
        [root, weight],
        f"{basename}/SubNorm",
        [layer.in_features],
        axis=-1,
        epsilon=epsilon,
        stash_type=1,
    )
    return f"{name}/output_0"


def _rounded(model: Model, root: str, width: int) -> tuple[str, str]:
    """Integers of -127 to 127, and max|x| / 127 of each token; made once for each input."""
    base = f"/{root.strip('/').replace('/', '_')}/rounding"
    constants = {"smallest": SMALLEST, "steps": 127.0}
    for key, value in constants.items():
        if f"edgekit.{key}" not in model.values:
            model.make_initializer(np.array(value, np.float32), f"edgekit.{key}")
    _node(model, "Abs", [root], f"{base}/Abs", [width])
    axis = "/model/constants/INT64/[-1]"
    _node(model, "ReduceMax", [f"{base}/Abs/output_0", axis], f"{base}/ReduceMax", [1], keepdims=1)
    _node(model, "Max", [f"{base}/ReduceMax/output_0", "edgekit.smallest"], f"{base}/Largest", [1])
    largest = f"{base}/Largest/output_0"
    _node(model, "Div", ["edgekit.steps", largest], f"{base}/Steps", [1])
    _node(model, "Mul", [root, f"{base}/Steps/output_0"], f"{base}/Mul", [width])
    _node(model, "Round", [f"{base}/Mul/output_0"], f"{base}/Round", [width])
    _node(model, "Div", [largest, "edgekit.steps"], f"{base}/Size", [1])
    return f"{base}/Round/output_0", f"{base}/Size/output_0"


def _guarded_inputs(model: Model, rounded: str, width: int) -> str:
    """Each block of 127 inputs followed by a 127, which fixes the kernel's own scale at 1."""
    own = _EXACT_BLOCK - 1
    blocks = -(-width // own)
    base = rounded.removesuffix("/Round/output_0")
    if blocks * own != width:
        ends = f"/model/constants/INT64/[0, 0, 0, 0, 0, {blocks * own - width}]"
        name = _node(model, "Pad", [rounded, ends], f"{base}/Pad", [blocks * own])
        rounded = f"{name}/output_0"
    shape = f"/model/constants/INT64/[0, 0, {blocks}, {own}]"
    _node(model, "Reshape", [rounded, shape], f"{base}/Blocks", [blocks, own])
    end = "/model/constants/INT64/[0, 0, 0, 0, 0, 0, 0, 1]"
    _node(model, "Pad", [f"{base}/Blocks/output_0", end, "edgekit.steps"], f"{base}/Guard", [blocks, own + 1])
    flat = f"/model/constants/INT64/[0, 0, {blocks * _EXACT_BLOCK}]"
    name = _node(model, "Reshape", [f"{base}/Guard/output_0", flat], f"{base}/Guarded", [blocks * _EXACT_BLOCK])
    return f"{name}/output_0"


def _matmul_nbits(model: Model, parts: list[Packed], name: str, root: str, last: int) -> str:
    model.make_matmul_nbits(Nbits(parts), name.removesuffix("NBits"), root)
    return name


def _matmul_float(model: Model, layers: list[TernaryLinear], name: str, root: str, last: int) -> str:
    import torch

    weight = f"{name[1:].replace('/', '.')}.weight"
    model.make_initializer(torch.cat([x.ternary for x in layers]).T, weight, to=model.io_dtype)
    return _node(model, "MatMul", [root, weight], name, [last])


def _node(model: Model, kind: str, inputs: list[str], name: str, last: list[int], **attributes: object) -> str:
    """Writes a node with one float output (batch, sequence, *last), unless one of the name exists."""
    output = f"{name}/output_0"
    if name not in model.node_names:
        model.make_node(kind, inputs=inputs, outputs=[output], name=name, **attributes)
        model.make_value(output, model.io_dtype, shape=["batch_size", "sequence_length", *last])
    return name
