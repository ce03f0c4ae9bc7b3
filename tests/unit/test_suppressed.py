"""Detectors that have suppressed duplicates themselves: the order of their columns, and a number of boxes that
differs from image to image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import PIL.Image
import pytest
from onnx import TensorProto, helper

from edgekit.errors import UsageError
from edgekit.graph.canonical import canonicalise
from edgekit.model import GraphModel
from edgekit.runtime import load
from edgekit.sources.base import SourceOptions
from edgekit.sources.onnx import OnnxSource
from edgekit.tasks.detection.distance import detection_error
from edgekit.tasks.detection.evidence import open_model
from tests.cli.commands import Edgekit
from tests.suppressing import SIDE, expected, suppressing


def read(model: onnx.ModelProto, folder: Path, **options: Any) -> GraphModel:
    path = folder / "model.onnx"
    onnx.save(model, path)
    said = SourceOptions(**options)
    return canonicalise(OnnxSource().read(str(path), said, path.parent), said)


def pictures() -> list[np.ndarray[Any, Any]]:
    """Of different contrast: the first has most boxes, the last none."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(SIDE, SIDE, 3))
    made = [np.clip(127.5 + noise * s, 0, 255).astype(np.uint8) for s in (120, 40, 80)]
    return [*made, np.full((SIDE, SIDE, 3), 127, np.uint8)]


@pytest.mark.parametrize(
    ("ending", "decoder"),
    [
        ("batch box class score", "end-to-end-flat"),
        ("batch class score box", "class-first"),
        ("class score box", "class-first"),
        ("box score class", "end-to-end"),
        ("batch score class box", "named-columns"),
        ("dets", "dets-labels"),
        ("separate", "boxes-scores-labels"),
        ("counted", "boxes-scores-labels"),
    ],
)
def test_each_ending_is_read_and_runs_on_any_number_of_boxes(ending: str, decoder: str, tmp_path: Path) -> None:
    model = suppressing(ending)
    read_ = read(model, tmp_path)
    assert read_.spec is not None
    assert (read_.spec.decoder, read_.spec.nms_in_graph) == (decoder, True)
    plain = {"resize": "stretch", "color": "rgb", "mean": (0.0,) * 3, "std": (255.0,) * 3}
    read_ = read(model, tmp_path, image=plain)
    counts = []
    with open_model(read_) as detector:
        for picture in pictures():
            boxes, scores, classes = detector.arrays(picture, score_threshold=0.0)
            rows = expected(model, picture.transpose(2, 0, 1)[None].astype(np.float32) / 255)
            counts.append(len(rows))
            np.testing.assert_allclose(boxes, rows[:, :4], atol=1e-4)
            np.testing.assert_allclose(scores, rows[:, 4], atol=1e-6)
            np.testing.assert_array_equal(classes, rows[:, 5])
    assert len(set(counts)) == len(counts) and 0 in counts, counts


def test_without_a_batch_they_are_read_as_well(tmp_path: Path) -> None:
    """torchvision's three outputs."""
    found = read(suppressing("separate", batch=False), tmp_path)
    with open_model(found) as detector:
        counts = [len(detector.arrays(p, score_threshold=0.0)[1]) for p in pictures()]
    assert len(set(counts)) > 2


def unordered(name: str, width: int) -> onnx.ModelProto:
    """Rows whose columns nothing in the graph tells apart."""
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Add", ["table", "mean"], [name]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [9, width])],
        [onnx.numpy_helper.from_array(np.ones((9, width), np.float32), "table")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize(
    ("name", "decoder"),
    [
        ("batchno_classid_score_x1y1x2y2", "class-first"),
        ("batchno_classid_score_x0y0x1y1", "class-first"),
        ("batch_id_x0_y0_x1_y1_class_id_score", "end-to-end-flat"),
    ],
)
def test_a_name_may_say_the_order(name: str, decoder: str, tmp_path: Path) -> None:
    found = read(unordered(name, 7), tmp_path)
    assert found.spec is not None and found.spec.decoder == decoder


@pytest.mark.parametrize("width", [6, 7])
def test_an_order_that_nothing_says_is_asked_for(width: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be told") as caught:
        read(unordered("output", width), tmp_path)
    assert "class-first" in caught.value.next
    found = read(unordered("output", width), tmp_path, decoder="class-first")
    assert found.spec is not None and found.spec.decoder == "class-first"


def test_the_gate_takes_any_number_of_boxes(edgekit: Edgekit, tmp_path: Path) -> None:
    """From the file to boxes, in float and quantised; one of the images has none."""
    onnx.save(suppressing("dets"), tmp_path / "dets.onnx")
    (tmp_path / "images").mkdir()
    for i, picture in enumerate(pictures()):
        PIL.Image.fromarray(picture).save(tmp_path / "images" / f"{i}.png")
    ran = edgekit(
        "convert",
        tmp_path / "dets.onnx",
        "-p",
        "fp32",
        "-p",
        "w8a8",
        "--mean",
        0,
        "--std",
        255,
        "--launches",
        0,
        "--calibration",
        tmp_path / "images",
        "-o",
        tmp_path / "out",
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    for package in ran.json["packages"]:
        (error,) = (m["value"] for m in package["receipt"]["measurements"] if m["name"] == "detection error")
        assert error == 0 if package["precision"] == "fp32" else 0 < error < 0.1
        with load(package["path"]) as detector:
            counts = {len(detector(p, score_threshold=0.0)) for p in pictures()}
        assert len(counts) > 2 and 0 in counts


def test_detections_are_compared_with_those_they_lie_on() -> None:
    def rows(*found: tuple[list[float], float, int]) -> dict[str, np.ndarray[Any, Any]]:
        boxes, scores, classes = zip(*found) if found else ([], [], [])
        return {
            "boxes": np.array(boxes, np.float32).reshape(1, -1, 4),
            "scores": np.array([scores], np.float32),
            "classes": np.array([classes], np.float32),
        }

    one, two = ([0, 0, 10, 10], 0.9, 1), ([20, 20, 40, 40], 0.6, 0)
    assert detection_error([rows(one, two)], [rows(two, one)]) == 0
    assert detection_error([rows(one, two)], [rows(one)]) == pytest.approx(0.3)
    assert detection_error([rows(one)], [rows(one, two)]) == pytest.approx(0.3)
    assert detection_error([rows(one)], [rows(([0, 0, 10, 5], 0.7, 1))]) == pytest.approx(0.7)
    assert detection_error([rows(one)], [rows(([0, 0, 10, 10], 0.9, 0))]) == pytest.approx(0.9)
    assert detection_error([rows()], [rows()]) == 0
    empty = rows(([5, 5, 5, 2], 0.8, 1))  # of a network without training
    assert detection_error([empty], [empty]) == 0
