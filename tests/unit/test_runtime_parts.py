"""Pre-processing against OpenCV, suppression against a plain loop, threads, and the detector."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.runtime import Detector, load
from edgekit.runtime.cores import allowed_cores, default_threads
from edgekit.runtime.detection.nms import suppress
from edgekit.runtime.image import Preprocessor, _resize_with_numpy, place
from edgekit.spec import DetectionSpec, ImageSpec, TensorSpec
from tests.data import SHAPES

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize(("h", "w"), [(720, 1280), (333, 500), (64, 48), (640, 640), (1, 1), (2, 900)])
@pytest.mark.parametrize("size", [(640, 360), (320, 320), (31, 77)])
def test_numpy_resize_is_opencvs(h: int, w: int, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (h, w, 3), dtype=np.uint8)
    expected = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    difference = np.abs(_resize_with_numpy(image, *size).astype(int) - expected)
    assert difference.max() <= 1


def test_what_native_code_prints_stays_out_of_documents() -> None:
    """C's own buffer included, which is emptied when a process ends."""
    code = (
        "import ctypes; from edgekit.runtime.native import output_to\n"
        "printf = ctypes.CDLL(None).printf\n"
        "printf(b'before\\n')\n"
        "with output_to(): printf(b'inside\\n')\n"
        "printf(b'after\\n')"
    )
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    ran = subprocess.run([sys.executable, "-c", code], env=kept, capture_output=True, check=True)
    assert ran.stdout == b"before\nafter\n"


def tensor(buffer: Array, layout: str, **quantised: Any) -> TensorSpec:
    return TensorSpec("image", buffer.dtype.name, buffer.shape, layout, **quantised)


def reference_letterbox(image: Array, side: int) -> Array:
    """The letterbox of YOLO trainers, step by step with OpenCV."""
    h, w = image.shape[:2]
    r = min(side / h, side / w)
    new_w, new_h = round(w * r), round(h * r)
    dw, dh = (side - new_w) / 2, (side - new_h) / 2
    image = cv2.resize(image, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    top, bottom, left, right = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114,) * 3)


@pytest.mark.parametrize(("h", "w"), [(480, 640), (641, 333), (200, 100), (1080, 1920)])
def test_letterbox_is_the_trainers(h: int, w: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (h, w, 3), dtype=np.uint8)
    buffer = np.zeros((1, 3, 640, 640), np.float32)
    Preprocessor(ImageSpec(640, 640), buffer, tensor(buffer, "NCHW"))(image)
    expected = reference_letterbox(image, 640).transpose(2, 0, 1)[None] / np.float32(255)
    np.testing.assert_allclose(buffer, expected, atol=1e-6)


def test_padding_is_right_when_shapes_alternate() -> None:
    buffer = np.zeros((1, 3, 64, 64), np.float32)
    prepare = Preprocessor(ImageSpec(64, 64), buffer, tensor(buffer, "NCHW"))
    wide, tall = np.zeros((32, 64, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)
    for image in (wide, tall, wide):
        prepare(image)
        fresh = np.zeros_like(buffer)
        Preprocessor(ImageSpec(64, 64), fresh, tensor(fresh, "NCHW"))(image)
        np.testing.assert_array_equal(buffer, fresh)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_colour_mean_std_and_layout(layout: str) -> None:
    spec = ImageSpec(4, 4, "stretch", color="bgr", mean=(1, 2, 3), std=(4, 5, 6))
    image = np.random.default_rng(2).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    expected = (image[:, :, ::-1].astype(np.float32) - [1, 2, 3]) / [4, 5, 6]
    shape = (1, 3, 4, 4) if layout == "NCHW" else (1, 4, 4, 3)
    buffer = np.zeros(shape, np.float32)
    Preprocessor(spec, buffer, tensor(buffer, layout))(image)
    got = buffer[0].transpose(1, 2, 0) if layout == "NCHW" else buffer[0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize(
    ("dtype", "scale", "zero", "mean", "std"),
    [
        ("int8", 1 / 255, -128, (0, 0, 0), (255, 255, 255)),  # pixel - 128, the common case
        ("int8", 0.0187, -14, (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
        ("int16", 1 / 2**15, 0, (0, 0, 0), (255, 255, 255)),
        ("uint8", None, 0, (0, 0, 0), (1, 1, 1)),
    ],
)
def test_integer_inputs_are_the_nearest_steps(
    layout: str, color: str, dtype: str, scale: float | None, zero: int, mean: Any, std: Any
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    spec = ImageSpec(4, 4, "stretch", color=color, mean=mean, std=std)  # type: ignore[arg-type]
    ordered = image if color == "rgb" else image[:, :, ::-1]
    steps = (ordered.astype(np.float64) - mean) / std / (scale or 1) + zero
    limits = np.iinfo(dtype)
    expected = np.clip(np.rint(steps), limits.min, limits.max)
    buffer = np.zeros((1, 3, 4, 4) if layout == "NCHW" else (1, 4, 4, 3), dtype)
    Preprocessor(spec, buffer, tensor(buffer, layout, scale=scale, zero_point=zero))(image)
    got = buffer[0].transpose(1, 2, 0) if layout == "NCHW" else buffer[0]
    # a pixel that falls between two steps may go either way in single precision
    assert (np.abs(got - steps.clip(limits.min, limits.max)) <= 0.5 + 1e-3).all()
    assert (got == expected).mean() > 0.95


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(bad: Array) -> None:
    buffer = np.zeros((1, 3, 4, 4), np.float32)
    prepare = Preprocessor(ImageSpec(4, 4), buffer, tensor(buffer, "NCHW"))
    with pytest.raises(DataError, match="HWC uint8 RGB"):
        prepare(bad)


def test_placement_inverts() -> None:
    spot = place((100, 200), ImageSpec(64, 64))
    assert spot.size == (64, 32)
    assert spot.offset == (0, 16)


def plain_nms(boxes: Array, scores: Array, classes: Array | None, threshold: float, limit: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):

        def iou(j: int, i: int = i) -> float:
            w = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
            h = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
            shared = max(w, 0) * max(h, 0)
            area = [(boxes[k][2] - boxes[k][0]) * (boxes[k][3] - boxes[k][1]) for k in (i, j)]
            return shared / (sum(area) - shared)

        rivals = [j for j in kept if classes is None or classes[j] == classes[i]]
        if all(iou(j) <= threshold for j in rivals):
            kept.append(i)
    return kept[:limit]


@pytest.mark.parametrize("count", [0, 1, 7, 255, 256, 257, 700])
@pytest.mark.parametrize("agnostic", [False, True])
def test_suppression_is_the_plain_algorithm(count: int, agnostic: bool) -> None:
    random = np.random.default_rng(count)
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 40, (count, 2))], 1).astype(np.float64)
    scores, classes = random.random(count), random.integers(0, 3, count)
    chosen = None if agnostic else classes
    for limit in (1000, 20):
        assert suppress(boxes, scores, chosen, 0.5, limit).tolist() == plain_nms(boxes, scores, chosen, 0.5, limit)


def test_suppression_agrees_with_opencv() -> None:
    random = np.random.default_rng(5)
    corners = random.uniform(0, 200, (300, 2))
    sides = random.uniform(5, 60, (300, 2))
    scores = random.random(300).astype(np.float32)
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    expected = cv2.dnn.NMSBoxes(np.concatenate([corners, sides], 1).tolist(), scores.tolist(), 0.0, 0.6)
    assert suppress(boxes, scores, None, 0.6, 1000).tolist() == list(np.ravel(expected))


def test_degenerate_boxes_do_no_harm() -> None:
    boxes = np.array([[0, 0, 0, 0], [5, 5, 1, 1], [0, 0, 10, 10]], np.float32)
    assert len(suppress(boxes, np.array([0.9, 0.8, 0.7]), None, 0.5, 10)) == 3


def test_threads_stay_within_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= default_threads() <= len(allowed_cores())
    monkeypatch.setenv("EDGEKIT_THREADS", "3")
    assert default_threads() == 3


def test_a_detector_takes_paths_arrays_and_lists(packages: dict[str, Path]) -> None:
    path = SHAPES / "eval" / "images" / "9002-0003.jpg"
    with load(packages["fp32"]) as detector:
        from_path = detector(path)
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        assert detector(image) == from_path
        assert detector([image, image]) == [from_path, from_path]
        assert from_path == sorted(from_path, key=lambda d: -d.score)
        assert all(0 <= d.box[0] <= d.box[2] <= image.shape[1] for d in from_path)
        assert detector(image, score_threshold=1.0) == []
        assert len(detector(image, score_threshold=0.0, max_detections=5)) == 5


def test_everything_is_found_again_in_a_bigger_picture(packages: dict[str, Path]) -> None:
    """Boxes are in pixels of the image that was given, whatever its size."""
    image = cv2.cvtColor(cv2.imread(str(SHAPES / "eval" / "images" / "9002-0003.jpg")), cv2.COLOR_BGR2RGB)
    twice = np.repeat(np.repeat(image, 2, 0), 2, 1)
    with load(packages["fp32"]) as detector:
        small, large = detector(image, score_threshold=0.6), detector(twice, score_threshold=0.5)
    for d in small:
        assert any(e.class_id == d.class_id and np.allclose(np.array(e.box) / 2, d.box, atol=6) for e in large), d


class Fixed:
    """A session that always answers the same."""

    threads = 1

    def __init__(self, answer: dict[str, Array]) -> None:
        self.answer, self.buffer = answer, np.zeros((1, 8, 8, 3), np.int8)

    def input(self, name: str) -> Array:
        return self.buffer

    def run(self, inputs: Any = None) -> dict[str, Array]:
        return self.answer

    def close(self) -> None: ...


def test_integer_outputs_of_a_network_that_suppresses_itself() -> None:
    """Classes that share a scale with boxes come out a little beside whole numbers."""
    scale = 0.021
    wanted = np.arange(80)
    steps = np.rint(wanted / scale).astype(np.int16)[None]
    boxes = np.tile(np.rint(np.array([1, 2, 5, 6]) / scale).astype(np.int16), (80, 1))[None]
    scores = np.full((1, 80), 20000, np.int16)
    answer = {"boxes": boxes, "scores": scores, "classes": steps}
    outputs = tuple(
        TensorSpec(n, "int16", a.shape, scale=scale if n != "scores" else 2**-15) for n, a in answer.items()
    )
    spec = DetectionSpec(
        TensorSpec("image", "int8", (1, 8, 8, 3), "NHWC", 1 / 255, -128),
        outputs,
        ImageSpec(8, 8),
        tuple(map(str, wanted)),
        "end-to-end",
        nms_in_graph=True,
    )
    found = Detector(spec, Fixed(answer))(np.zeros((8, 8, 3), np.uint8))
    assert sorted(d.class_id for d in found) == wanted.tolist()
    assert found[0].box == pytest.approx((1, 2, 5, 6), abs=scale)
    assert found[0].score == pytest.approx(20000 / 2**15)
