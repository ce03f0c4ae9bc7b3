"""What edgekit does to a graph before Qualcomm's compiler gets it, and what it knows of that compiler."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import ConversionError
from edgekit.qnn import context, libraries
from edgekit.qnn.context import PlacementError, compile_context
from edgekit.qnn.quantise import _with_room
from edgekit.qnn.silu import keep_silu_apart
from edgekit.quantize.search import run_onnx
from tests.qnn import ELITE, conv_and_silu, detector, model, on_cpu, on_npu, on_sixteen_bits, snr

Array = np.ndarray[Any, Any]


def noise(graph: onnx.ModelProto) -> Array:
    shape = [d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def every(graph: onnx.ModelProto) -> set[str]:
    return {n.name for n in graph.graph.node}


@pytest.mark.parametrize(
    ("qairt", "versions"),
    [
        ("2.51.0", ">=2.7,<3"),
        ("2.50.40.260101", ">=2.6,<3"),
        ("2.49", ">=2.5,<3"),
        ("2.40.0", ">=2.3,<3"),  # the oldest release that is known
        ("2.99.0", ">2.9,<3"),
        ("", ">=2,<3"),
        ("unknown", ">=2,<3"),
    ],
)
def test_the_provider_that_opens_what_a_qairt_made(monkeypatch: pytest.MonkeyPatch, qairt: str, versions: str) -> None:
    """On a machine with a later provider than those that were tried."""
    monkeypatch.setattr(libraries, "compiler", lambda: "QAIRT 2.53.0")
    monkeypatch.setattr(libraries, "version", lambda name: "2.9.1")
    assert libraries.provider_versions(qairt) == versions


def test_what_is_installed_later_is_known_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "compiler", lambda: "QAIRT 2.53.0")
    monkeypatch.setattr(libraries, "version", lambda name: "2.9.1")
    assert libraries.provider_versions("2.53.0") == ">=2.9,<3"
    monkeypatch.setattr(libraries, "compiler", lambda: "")  # no provider here: AI Hub compiled
    assert libraries.provider_versions("2.53.0") == ">2.7,<3"


@pytest.mark.parametrize("height", [9, 10, 11, 12])
def test_a_sigmoid_is_kept_apart_from_its_product_and_the_function_stays(height: int) -> None:
    graph = conv_and_silu(height)
    before = graph.SerializeToString()
    changed, added = keep_silu_apart(graph, every(graph))
    onnx.checker.check_model(changed, full_check=True)
    assert graph.SerializeToString() == before
    assert added == {"sigmoid_apart": "s"}
    assert [n.op_type for n in changed.graph.node] == ["Conv", "Sigmoid", "Mul", "Mul"]
    image = noise(graph)
    assert np.array_equal(on_cpu(changed, image)["y"], on_cpu(graph, image)["y"])


@pytest.mark.parametrize(("height", "wide"), [(8, True), (13, True), (20, True), (10, False)])
def test_a_silu_that_is_computed_rightly_is_left_alone(height: int, wide: bool) -> None:
    graph = conv_and_silu(height)
    changed, added = keep_silu_apart(graph, every(graph) if wide else ())
    assert not added and changed == graph


def test_a_sigmoid_that_scales_something_else_is_left_alone() -> None:
    """Squeeze and excite, say."""
    nodes = [
        helper.make_node("Sigmoid", ["image"], ["s"], "sigmoid"),
        helper.make_node("Relu", ["image"], ["r"], "relu"),
        helper.make_node("Mul", ["r", "s"], ["y"], "product"),
    ]
    graph = model(nodes, [1, 8, 10, 10], {"y": [1, 8, 10, 10]}, {})
    assert keep_silu_apart(graph, every(graph)) == (graph, {})


@pytest.mark.parametrize("height", [10, 12])
def test_silu_on_16_bits_is_right_in_the_simulator(height: int) -> None:
    pytest.importorskip("onnxruntime_qnn")
    graph = conv_and_silu(height, channels=80)
    image = noise(graph)
    plain = on_sixteen_bits(graph, image)
    wanted = on_cpu(plain, image)["y"]
    assert snr(on_cpu(graph, image)["y"], wanted) > 40
    assert snr(wanted, on_npu(plain, image)["y"]) < 20, "QAIRT was mended: is qnn/silu.py needed still?"
    apart, _ = keep_silu_apart(graph, every(graph))
    assert snr(wanted, on_npu(on_sixteen_bits(apart, image), image)["y"]) > 70


@pytest.mark.parametrize("block", [32, 64, 128])
def test_weights_of_4_bits_run_on_the_npu_in_floating_point(block: int) -> None:
    """Language models need it: blocks of `block` weights, each with a scale of its own."""
    pytest.importorskip("onnxruntime_qnn")
    inner, outer, rows = 256, 64, 8
    rng = np.random.default_rng(0)
    count = inner // block
    packed = rng.integers(0, 256, (outer, count, block // 2), dtype=np.uint8)
    scales = rng.uniform(0.01, 0.03, outer * count).astype(np.float32)
    node = helper.make_node(
        "MatMulNBits",
        ["image", "packed", "scales"],
        ["y"],
        "product",
        domain="com.microsoft",
        K=inner,
        N=outer,
        bits=4,
        block_size=block,
        accuracy_level=0,
    )
    graph = model([node], [1, rows, inner], {"y": [1, rows, outer]}, {"packed": packed, "scales": scales}, True)
    image = noise(graph)
    assert snr(on_cpu(graph, image)["y"], on_npu(graph, image)["y"]) > 50


def test_what_the_npu_lacks_is_named_as_the_user_named_it() -> None:
    pytest.importorskip("onnxruntime_qnn")
    with pytest.raises(PlacementError, match="SM8750: Shrink") as refused:
        compile_context(detector("Relu", "Shrink"), ELITE, {"net/Shrink": "my.shrink"})
    assert "my.shrink (Shrink)" in refused.value.why
    assert [(n.node, n.kind) for n in refused.value.nodes] == [("net/Shrink", "Shrink")]


def test_a_context_is_for_the_chip_asked_for_or_is_refused() -> None:
    pytest.importorskip("onnxruntime_qnn")
    made = compile_context(conv_and_silu(8), ELITE)
    context._check_chip(made, ELITE)
    for change in ({"htp": 75}, {"soc_id": 57}):
        with pytest.raises(ConversionError, match="did not compile for SM8750") as refused:
            context._check_chip(made, replace(ELITE, **change))
        assert "Hexagon v79, chip 69" in refused.value.why
    bare = onnx.load_from_string(made)
    del bare.metadata_props[:]
    with pytest.raises(ConversionError, match="did not compile for SM8750"):
        context._check_chip(bare.SerializeToString(), ELITE)
    with pytest.raises(ConversionError, match="does not know SM8750"):
        compile_context(conv_and_silu(8), replace(ELITE, soc_id=12345))


def test_integers_run_the_same_on_every_processor_when_nothing_is_fused() -> None:
    """u8×s8 kernels add pairs in 16 bits on x86 without VNNI, which overflows here."""
    weights = {
        "w": np.full((1, 64, 1, 1), 127, np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "s": np.float32(1 / 255),
        "z": np.uint8(0),
        "os": np.float32(1.0),
    }
    nodes = [
        helper.make_node(kind, takes, [gives], gives)
        for kind, takes, gives in (
            ("QuantizeLinear", ["image", "s", "z"], "xq"),
            ("DequantizeLinear", ["xq", "s", "z"], "x"),
            ("DequantizeLinear", ["w", "ws", "wz"], "wd"),
            ("Conv", ["x", "wd"], "c"),
            ("QuantizeLinear", ["c", "os", "z"], "cq"),
            ("DequantizeLinear", ["cq", "os", "z"], "y"),
        )
    ]
    graph = model(nodes, [1, 64, 4, 4], {"y": [1, 1, 4, 4]}, weights)
    image = np.ones((1, 64, 4, 4), np.float32)
    exact = np.full((1, 1, 4, 4), round(64 * 1.27), np.float32)
    assert np.array_equal(run_onnx(graph, [{"image": image}], fused=False)[0]["y"], exact)
    assert graph.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT


def test_ranges_of_16_bits_leave_room_for_what_calibration_did_not_show() -> None:
    """A class that no image holds has scores below one half only, and must not be cut off there."""
    graph = detector("Relu")
    seen = {"image": (0.0, 1.0), "logits": (-8.0, 1e-6), "scores": (0.0, 0.5), "x1": (0.0, 4.0)}
    found = _with_room(graph, seen)
    assert found["logits"] == pytest.approx((-10.0, 2.0))
    assert found["x1"] == (0.0, 5.0), "what is never negative stays so"
    assert found["image"] == seen["image"] and found["scores"] == seen["scores"], "bounded anyway"
