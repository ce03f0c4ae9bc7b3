"""Small integers: the kernel of ONNX Runtime computes what our layout says, and BitNet's exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgekit.layers.packed import Packed, PackedLinear, pack_bits, unpack_bits
from edgekit.layers.ternary import TernaryLinear, guarded, packed, ternarised, unpacked
from edgekit.quantize.rounding import nearest, searched


def kernel(weight: Packed, x: np.ndarray[Any, Any], accuracy: int) -> np.ndarray[Any, Any]:
    """MatMulNBits of ONNX Runtime."""
    names = ["x", "weight", "scales"] + (["zeros"] if weight.zeros is not None else [])
    node = helper.make_node(
        "MatMulNBits",
        names,
        ["y"],
        domain="com.microsoft",
        K=weight.columns,
        N=weight.rows,
        bits=weight.bits,
        block_size=weight.block,
        accuracy_level=accuracy,
    )
    held = [
        numpy_helper.from_array(weight.weight.numpy(), "weight"),
        numpy_helper.from_array(weight.scales.numpy(), "scales"),
    ]
    if weight.zeros is not None:
        held.append(numpy_helper.from_array(weight.zeros.numpy(), "zeros"))
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(x.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [len(x), weight.rows])],
        held,
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    )
    model.ir_version = 10
    onnx.checker.check_model(model)
    y: np.ndarray[Any, Any] = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    return y


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_bits_are_unpacked_as_they_were_packed(bits: int) -> None:
    values = torch.randint(0, 2**bits, (3, 5, 7), dtype=torch.uint8)
    assert torch.equal(unpack_bits(pack_bits(values, bits), bits, 7), values)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_kernel_computes_with_the_weights_that_dequantised_gives(bits: int, block: int, symmetric: bool) -> None:
    torch.manual_seed(0)
    made = nearest(torch.randn(24, 200), bits, block)
    zeros = None if symmetric else torch.randint(0, 2**bits, made.scales.shape, dtype=torch.uint8)
    weight = Packed.of(made.integers(), made.scales, zeros, bits, 200)
    x = np.random.default_rng(0).normal(size=(5, 200)).astype(np.float32)
    expected = x @ weight.dequantised().numpy().T
    assert np.abs(kernel(weight, x, 0) - expected).max() < 1e-3
    assert torch.allclose(PackedLinear(weight)(torch.from_numpy(x)), torch.from_numpy(expected), atol=1e-4)
    part = weight.part(slice(8, 16))
    assert torch.equal(part.dequantised(), weight.dequantised()[8:16])


def test_a_searched_scale_costs_less_than_the_nearest_where_it_counts() -> None:
    torch.manual_seed(1)
    weight, importance = torch.randn(64, 256), torch.rand(256) ** 4
    importance[::16] = 10
    cost = [
        float(((p.dequantised() - weight).square() * importance).sum())
        for p in (nearest(weight, 4, 32), searched(weight, 4, 32, importance))
    ]
    assert cost[1] < 0.9 * cost[0]


def test_weights_of_zero_stay_zero() -> None:
    for made in (nearest(torch.zeros(4, 64), 4, 32), searched(torch.zeros(4, 64), 8, 32, torch.ones(64))):
        assert not made.dequantised().any()


@pytest.mark.parametrize("block", [16, 32, 64, 128])
@pytest.mark.parametrize("tokens", [1, 4, 33])
def test_a_guard_makes_the_fast_kernel_exact(block: int, tokens: int) -> None:
    """Against integers, in each BitLinear: no rounding but that of the inputs."""
    random = np.random.default_rng(tokens * block)
    layer = TernaryLinear(torch.from_numpy(random.integers(-1, 2, (40, 300)).astype(np.int8)), 0.7)
    q = random.integers(-127, 128, (tokens, 300))
    held = guarded(layer, block)
    own = block - 1
    wide = np.zeros((tokens, held.columns // block * own), np.int64)
    wide[:, :300] = q
    blocks = np.concatenate([wide.reshape(tokens, -1, own), np.full((tokens, held.columns // block, 1), 127)], -1)
    got = kernel(held, blocks.reshape(tokens, -1).astype(np.float32), 4)
    assert np.array_equal(got.astype(np.int64), q @ layer.ternary.numpy().astype(np.int64).T)
    assert np.array_equal(got, np.round(got))


def test_ternary_weights_are_exact_in_two_bits() -> None:
    weight, scale = ternarised(torch.randn(32, 96))
    assert set(weight.unique().tolist()) == {-1, 0, 1}
    assert torch.equal(packed(TernaryLinear(weight, scale), 32).dequantised(), weight.float() * scale)


def test_rounding_and_unpacking_are_those_of_transformers() -> None:
    from transformers.integrations import bitnet

    torch.compiler.set_stance("force_eager")
    try:
        master = torch.randn(16, 64)
        weight, scale = ternarised(master)
        assert torch.allclose(bitnet.WeightQuant.apply(master), weight.float() * scale, rtol=1e-6)
        stored = bitnet.pack_weights(weight.clone())
        assert torch.equal(unpacked(stored), weight)
        theirs = bitnet.AutoBitLinear(64, 16, bias=False, online_quant=True)
        theirs.weight.data = master
        x = torch.randn(5, 64)
        assert torch.allclose(theirs(x), TernaryLinear(weight, scale)(x), atol=1e-5)
    finally:
        torch.compiler.set_stance("default")
