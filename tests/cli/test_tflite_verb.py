"""TFLite through the command line: every precision, what its receipt says, and what is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.package import Package
from edgekit.runtime import load
from tests.conftest import Ran
from tests.data import SHAPES

pytest.importorskip("ai_edge_quantizer")
IMAGE = SHAPES / "eval" / "images" / "9002-0000.jpg"
Edgekit = Callable[..., Ran]


def figures(path: Path, group: str) -> dict[str, float]:
    rows = Package(path).receipt()["measurements"]
    return {m["name"]: m["value"] for m in rows if m["group"] == group}


def test_every_precision_sees_the_same(packages: dict[str, Path], tflite_packages: dict[str, Path]) -> None:
    expected = load(packages["fp32"])(IMAGE, score_threshold=0.5)
    assert len(expected) > 3
    for name, path in tflite_packages.items():
        near = 0.05 if name in ("fp32", "fp16") else 6
        with load(path) as detector:
            found = detector(IMAGE)  # from a lower score: 8 bits move it by some hundredths
        for e in expected:
            same = [f for f in found if f.label == e.label and f.box == pytest.approx(e.box, abs=near)]
            assert same, (name, e)


def test_outputs_are_apart_and_integers_where_they_were_asked_for(tflite_packages: dict[str, Path]) -> None:
    for name, path in tflite_packages.items():
        model = Package(path).manifest.model
        kinds = {t.name: t.dtype for t in (model.input, *model.outputs)}
        if name == "integer":
            assert kinds == {"image": "int8", "boxes": "int16", "scores": "int16"}
            scales = {o.name: o.scale for o in model.outputs}
            assert scales["boxes"] != scales["scores"]
        else:
            assert set(kinds.values()) == {"float32"}
        assert model.input.layout == "NHWC"


def test_sizes_fall_with_precision(tflite_packages: dict[str, Path]) -> None:
    size = {n: (p / "model.tflite").stat().st_size for n, p in tflite_packages.items()}
    assert size["w8a8"] < size["fp16"] < size["fp32"]
    assert size["w8"] < size["fp16"]


def test_the_receipt_counts_what_only_moves_data(tflite_packages: dict[str, Path]) -> None:
    for name, path in tflite_packages.items():
        counted = figures(path, "graph")
        assert counted["transposes"] <= 1, name
        assert counted["operators"] > 100
        assert (counted["bytes transposed"] > 0) == (counted["transposes"] > 0)


def test_labels_are_in_the_file_as_the_metadata_standard_has_them(tflite_packages: dict[str, Path]) -> None:
    for path in tflite_packages.values():
        with zipfile.ZipFile(path / "model.tflite") as archive:
            assert tuple(archive.read("labels.txt").decode().split("\n")) == Package(path).manifest.model.labels


def test_a_chip_without_floating_point_gets_none(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", SHAPES / "shapes.safetensors", "-t", "tflite-int8", "-p", "fp32", "-o", tmp_path)
    assert ran.code == 2
    assert "tflite-int8 has no fp32" in ran.err
    assert "w8a8" in ran.err


@pytest.mark.slow
def test_weights_alone_need_no_images(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(
        "convert",
        SHAPES / "shapes.safetensors",
        "-t",
        "tflite",
        "-p",
        "w8",
        "-o",
        tmp_path,
        "--launches",
        0,
        "--json",
        "--allow",
        "accuracy",
    )
    assert ran.code == 0, ran.err
    assert ran.json["packages"][0]["path"]


def detector(middle: list[Any], extra: list[Any], kind: int = TensorProto.FLOAT, size: Any = 64) -> Any:
    """A detector as exporters of YOLO write it, with something odd in the middle (from a to b)."""
    generator = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> Any:
        return numpy_helper.from_array((generator.standard_normal(shape) * 0.1).astype(np.float32), name)

    def ints(name: str, *values: int) -> Any:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "w1"], ["a"], "stem", strides=[2, 2], pads=[1, 1, 1, 1]),
        *middle,
        helper.make_node("Conv", ["b", "w2"], ["c"], "head"),
        helper.make_node("Reshape", ["c", "shape"], ["flat"], "flatten"),
        helper.make_node("Slice", ["flat", "start", "end", "axis"], ["cut"], "cut"),
        helper.make_node("Split", ["cut", "parts"], ["boxes", "logits"], "split", axis=1),
        helper.make_node("Sigmoid", ["logits"], ["likely"], "likely"),
        helper.make_node("Concat", ["boxes", "likely"], ["output0"], "join", axis=1),
    ]
    constants = [
        weight("w1", 8, 3, 3, 3),
        weight("w2", 7, 8, 1, 1),
        ints("shape", 1, 7, -1),
        ints("start", 0),
        ints("end", 84),
        ints("axis", 2),
        ints("parts", 4, 3),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", kind, [1, 3, size, size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 84])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


PLAIN = [helper.make_node("Relu", ["a"], ["b"], "plain")]
DEEP = [
    helper.make_node("Unsqueeze", ["a", "at"], ["u"], "up"),
    helper.make_node("Conv", ["u", "w5"], ["v"], "deep_conv"),
    helper.make_node("Squeeze", ["v", "at"], ["b"], "down"),
]
DEEP_WEIGHTS = [
    numpy_helper.from_array(np.array([2]), "at"),
    numpy_helper.from_array(np.full((8, 8, 1, 1, 1), 0.1, np.float32), "w5"),
]


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        (
            detector([helper.make_node("Hardmax", ["a"], ["b"], "odd_one", axis=1)], []),
            5,
            ["odd_one (Hardmax)", "no such operator in TFLite", "-t cpu"],
        ),
        (detector(DEEP, DEEP_WEIGHTS), 5, ["deep_conv (Conv)", "5 dimensions"]),
        (detector(PLAIN, [], TensorProto.INT64), 2, ["INT64 images", "float32"]),
        (detector(PLAIN, [], size="open"), 2, ["image size", "--image-size"]),
    ],
    ids=["operator", "5-D", "int64", "open"],
)
def test_what_cannot_be_converted_is_named(
    edgekit: Edgekit, tmp_path: Path, model: Any, code: int, said: list[str]
) -> None:
    onnx.save(model, tmp_path / "odd.onnx")
    ran = edgekit("convert", tmp_path / "odd.onnx", "-t", "tflite", "--labels", "a,b,c", "-o", tmp_path / "out")
    assert ran.code == code, ran.err
    assert ran.err.count("error:") == 1
    assert all(words in ran.err for words in said), ran.err
    assert not (tmp_path / "out").exists()


def test_calibration_arrays_are_not_images(edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "a.npy", np.zeros((3, 7, 7), np.float32))
    ran = edgekit(
        "convert",
        SHAPES / "shapes.safetensors",
        "-t",
        "tflite",
        "-p",
        "w8a8",
        "--calibration",
        tmp_path / "arrays",
        "-o",
        tmp_path / "out",
    )
    assert ran.code == 5
    assert "holds no images" in ran.err
    assert "any size" in ran.err
