"""Passes keep the function, and do what they say."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from edgekit.errors import UsageError
from edgekit.graph import count
from edgekit.graph.clean import clean
from edgekit.graph.fold_gather import fold_gather
from edgekit.graph.merge_convs import merge_convs
from edgekit.graph.pool_to_conv import pool_to_conv
from edgekit.graph.shapes import fix_shapes
from edgekit.graph.simplify import simplify
from edgekit.graph.softmax_axis import softmax_on_last_axis
from edgekit.graph.view import GraphView
from edgekit.sources.export import export


class Branches(torch.nn.Module):
    """What exporters leave of a RepConv, a pooling and a distribution head."""

    def __init__(self) -> None:
        super().__init__()
        self.three = torch.nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.one = torch.nn.Conv2d(8, 8, 1, groups=2)
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1, bias=False), torch.nn.BatchNorm2d(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.silu(self.stem(x))
        x = torch.nn.functional.silu(self.three(x) + self.one(x))
        x = torch.nn.functional.avg_pool2d(x, 2, 1)
        return x.flatten(2).view(x.shape[0], 2, 4, -1).softmax(2)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    torch.manual_seed(0)
    network = Branches()
    for value in network.buffers():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + 0.5)
    return simplify(export(network, (torch.zeros(1, 3, 16, 16),), "branches"), "branches")


def run(graph: onnx.ModelProto) -> np.ndarray[Any, Any]:
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(0).random((1, 3, 16, 16), dtype=np.float32)
    return np.asarray(session.run(None, {session.get_inputs()[0].name: image})[0])


def kinds(graph: onnx.ModelProto) -> list[str]:
    return [n.op_type for n in graph.graph.node]


def test_parallel_convolutions_become_one(model: onnx.ModelProto) -> None:
    merged = merge_convs(model)
    onnx.checker.check_model(merged, full_check=True)
    assert kinds(model).count("Conv") == 3
    assert kinds(merged).count("Conv") == 2
    np.testing.assert_allclose(run(merged), run(model), atol=1e-6)


def test_average_pooling_becomes_a_convolution(model: onnx.ModelProto) -> None:
    changed = pool_to_conv(model)
    assert "AveragePool" in kinds(model)
    assert "AveragePool" not in kinds(changed)
    np.testing.assert_allclose(run(changed), run(model), atol=1e-6)


def test_softmax_moves_to_the_last_axis(model: onnx.ModelProto) -> None:
    changed = softmax_on_last_axis(model)
    np.testing.assert_array_equal(run(changed), run(model))
    softmax = next(n for n in changed.graph.node if n.op_type == "Softmax")
    assert helper.get_attribute_value(softmax.attribute[0]) == -1


def test_passes_leave_their_input_alone(model: onnx.ModelProto) -> None:
    before = model.SerializeToString()
    for step in (merge_convs, pool_to_conv, softmax_on_last_axis, clean):
        step(model)
    assert model.SerializeToString() == before


def test_cleaning_leaves_no_trace_of_the_machine(model: onnx.ModelProto) -> None:
    raw = export(Branches(), (torch.zeros(1, 3, 16, 16),), "branches")
    assert b"test_graph" in raw.SerializeToString()  # the exporter writes where the code lies
    cleaned = clean(raw)
    assert b"test_graph" not in cleaned.SerializeToString()
    assert not cleaned.metadata_props
    onnx.checker.check_model(clean(model), full_check=True)
    assert clean(model).SerializeToString() == clean(clean(model)).SerializeToString()


def test_counts_are_those_of_the_formula(model: onnx.ModelProto) -> None:
    merged = merge_convs(model)
    assert count.parameters(merged) == (3 * 9 * 8 + 8) + (4 * 9 * 8 + 8)
    assert count.flops(merged) == 2 * 16 * 16 * (3 * 9 * 8 + 4 * 9 * 8)


def open_model(shape: list[Any]) -> onnx.ModelProto:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    made = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [image], [out])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_open_sizes_are_fixed() -> None:
    fixed = fix_shapes(open_model(["batch", 3, "h", "w"]), (32, 64), "m")
    assert GraphView(fixed).shape("x") == (1, 3, 32, 64)
    assert GraphView(fixed).shape("y") == (1, 3, 32, 64)
    last = fix_shapes(open_model([1, "h", "w", 3]), (32, 64), "m")
    assert GraphView(last).shape("x") == (1, 32, 64, 3)


@pytest.mark.parametrize(
    ("shape", "size", "message"),
    [
        ([1, 3, "h", "w"], None, "is open"),
        ([1, 3, 32, 32], (64, 64), "cannot run at"),
        ([4, 3, 32, 32], None, "fixed batch"),
    ],
)
def test_sizes_that_cannot_be(shape: list[Any], size: tuple[int, int] | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fix_shapes(open_model(shape), size, "m")


@pytest.mark.parametrize(("picks", "folded"), [([2, -3, 1], True), ([2, 2, 0], False), ([1, 0], False)])
def test_reordered_channels_are_read_by_the_weights(picks: list[int], folded: bool) -> None:
    weights = np.random.default_rng(1).random((4, len(picks), 3, 3), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["image", "picks"], ["other"], axis=1),
            helper.make_node("Conv", ["other", "weights"], ["out"], pads=[1, 1, 1, 1]),
        ],
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, 4, 16, 16])],
        [onnx.numpy_helper.from_array(np.array(picks), "picks"), onnx.numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    result = fold_gather(model)
    assert ("Gather" not in kinds(result)) is folded
    np.testing.assert_allclose(run(result), run(model), rtol=1e-5, atol=1e-6)
