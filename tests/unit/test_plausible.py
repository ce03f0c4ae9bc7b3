"""What a detector gives for real images shows whether it was read as it was meant."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.conversion.reading import read_model
from edgekit.data.images import read_dataset
from edgekit.errors import SourceError
from edgekit.graph.canonical import canonicalise
from edgekit.graph.dequantise import WAS_QUANTISED
from edgekit.model import GraphModel, SourceInfo
from edgekit.package.receipt import Reason
from edgekit.runtime.image import read_image
from edgekit.sources.base import SourceOptions
from edgekit.tasks.detection.plausible import SAMPLE, check_plausible
from tests.cli.commands import Edgekit
from tests.data import SHAPES
from tests.heads import CELLS, graph

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(5)


def made(boxes: Array, scores: Array) -> GraphModel:
    """A detector that gives these, whatever it sees."""
    from onnx import helper

    nodes = [helper.make_node("Identity", [f"{n}_in"], [n]) for n in ("boxes", "scores")]
    arrays = {"boxes_in": boxes, "scores_in": scores}
    model = graph(nodes, {"boxes": boxes.shape, "scores": scores.shape}, arrays)
    info = SourceInfo("onnx", "m.onnx", "0" * 64, 1)
    return canonicalise(GraphModel("m", model, None, info), SourceOptions(decoder="nms-inputs"))


def good() -> tuple[Array, Array]:
    low = RANDOM.random((1, CELLS, 2)) * 40
    return np.concatenate([low, low + 4 + RANDOM.random((1, CELLS, 2)) * 20], 2), RANDOM.random((1, 2, CELLS))


def test_the_picture_that_is_carried_is_small_and_says_where_it_is_from() -> None:
    assert read_image(SAMPLE).shape == (450, 384, 3)
    assert SAMPLE.stat().st_size < 60_000
    origin = SAMPLE.with_name("ORIGIN.md").read_text(encoding="utf-8")
    assert "public domain" in " ".join(origin.split()) and SAMPLE.name in origin


def test_what_a_detector_may_give_passes() -> None:
    assert check_plausible(made(*good()), None) == ()


def test_a_network_without_training_passes() -> None:
    """Centres, sizes and scores are noise: boxes fail in several ways, not in one."""
    boxes = np.concatenate([RANDOM.normal(size=(1, CELLS, 2)), RANDOM.normal(size=(1, CELLS, 2))], 2)
    assert check_plausible(made(boxes, RANDOM.random((1, 2, CELLS))), None) == ()


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (lambda b, s: (b, s * 37), "scores are no probabilities"),
        (lambda b, s: (b, s - 0.5), "scores are no probabilities"),
        (lambda b, s: (b / 64, s), "smaller than a pixel"),
        (lambda b, s: (b + 70, s), "lie outside"),
        (lambda b, s: (b, s * 0 + 0.3), "the same score"),
        (lambda b, s: (b * np.nan, s), "boxes are not finite"),
    ],
    ids=["logits", "negative", "normalised", "outside", "equal", "nan"],
)
def test_what_none_may_give_is_refused(change: Any, seen: str) -> None:
    model = made(*change(*good()))
    with pytest.raises(SourceError, match=seen) as caught:
        check_plausible(model, None)
    assert "the picture that edgekit carries" in caught.value.why and "--allow misread" in caught.value.next
    (trip, *_) = check_plausible(model, None, {Reason.MISREAD})
    assert trip.reason is Reason.MISREAD and seen in trip.message


def test_boxes_that_end_before_they_begin_are_refused_on_images_of_its_kind() -> None:
    boxes, scores = good()
    model = made(boxes[..., [2, 3, 0, 1]], scores)
    assert check_plausible(model, None) == ()
    with pytest.raises(SourceError, match="end before they begin"):
        check_plausible(model, read_dataset(SHAPES / "calibration").without_boxes())


@pytest.fixture(scope="module")
def shapes() -> GraphModel:
    return read_model(str(SHAPES / "shapes.safetensors"), SourceOptions())


def test_the_projects_own_detector_finds_what_is_annotated(shapes: GraphModel) -> None:
    assert check_plausible(shapes, read_dataset(SHAPES / "eval")) == ()
    assert check_plausible(shapes, read_dataset(SHAPES / "calibration").without_boxes()) == ()


@pytest.mark.slow
def test_one_that_finds_nothing_is_refused(shapes: GraphModel) -> None:
    blind = dataclasses.replace(shapes)
    assert shapes.spec is not None
    blind.spec = dataclasses.replace(shapes.spec, image=dataclasses.replace(shapes.spec.image, std=(1e6,) * 3))
    with pytest.raises(SourceError, match="finds nothing of what is annotated") as caught:
        check_plausible(blind, read_dataset(SHAPES / "eval"))
    assert "mAP50 0.0" in caught.value.why and "overlap" in caught.value.why
    assert "with --mean 0,0,0 --std 255,255,255 mAP50 is" in caught.value.why
    assert "quantised" not in caught.value.why
    blind.source = dataclasses.replace(blind.source, notes=(f"{WAS_QUANTISED} (dynamic)",))
    with pytest.raises(SourceError, match="convert the float model"):
        check_plausible(blind, read_dataset(SHAPES / "eval"))


@pytest.mark.slow
def test_convert_refuses_before_it_compiles(edgekit: Edgekit, tmp_path: Path) -> None:
    command = (
        "convert",
        SHAPES / "shapes.safetensors",
        "--std",
        1000000,
        "-p",
        "fp32",
        "--launches",
        0,
        "--eval",
        SHAPES / "eval",
        "-o",
        tmp_path,
    )
    ran = edgekit(*command)
    assert ran.code == 5 and "misread as yolov9" in ran.err and not list(tmp_path.iterdir())
    ran = edgekit(*command, "--allow", "misread", "--json")
    assert ran.code == 0, ran.err
    made = ran.json["packages"][0]["receipt"]
    assert made["verdict"] == "allowed: misread" and "finds nothing" in made["trips"][0]["message"]


@pytest.mark.parametrize(
    ("output", "node", "seen"),
    [
        ("boxes", {"axis": 2, "order": [1, 0, 3, 2]}, "y1 x1 y2 x2"),
        ("scores", {"axis": 1, "order": [7, *range(7)]}, "count from 1"),
    ],
)
def test_one_that_would_find_far_more_read_otherwise_is_refused(
    shapes: GraphModel, output: str, node: dict[str, Any], seen: str
) -> None:
    """It may find some of what is annotated as it is: what lies on the diagonal, what is of the class beside."""
    from onnx import helper, numpy_helper

    changed = dataclasses.replace(shapes)
    changed.graph = type(shapes.graph)()
    changed.graph.CopyFrom(shapes.graph)
    graph = changed.graph.graph
    for each in graph.node:
        each.output[:] = [f"{n}_as_meant" if n == output else n for n in each.output]
        each.input[:] = [f"{n}_as_meant" if n == output else n for n in each.input]
    graph.initializer.append(numpy_helper.from_array(np.array(node["order"]), "order"))
    inputs = [f"{output}_as_meant", "order"]
    graph.node.append(helper.make_node("Gather", inputs, [output], axis=node["axis"]))
    with pytest.raises(SourceError, match=seen) as caught:
        check_plausible(changed, read_dataset(SHAPES / "eval"))
    assert "as it was read, and" in caught.value.why
