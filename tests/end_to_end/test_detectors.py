"""Real trained weights, from the checkpoint to the boxes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.runtime import Detection, load
from tests.conftest import Ran
from tests.data import SHAPES, data

Edgekit = Callable[..., Ran]

# Largest difference from the reference: of any sure candidate on 8 photographs, and of the boxes of
# bus.jpg. Two of the files store float16 weights; the material's README has their figures for the bus.
LAYOUTS = [
    ("mit_v9-t_coco_usegroupFalse.pt", 0.01, 0.01),
    ("yolov9t_coco_fp32.safetensors", 0.01, 0.01),
    ("wky_gelan-t_Detect_coco.pt", 1.5, 0.07),
    ("ultralytics_yolov9t_coco.pt", 1.5, 0.08),
]


@pytest.fixture(scope="module")
def reference_boxes(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> list[Detection]:
    model = data("yolov9t_coco/yolov9t_coco_640.onnx")
    ran = edgekit("convert", model, "--labels", "coco", "--json", "-o", tmp_path_factory.mktemp("reference"))
    with load(ran.json["packages"][0]["path"]) as detector:
        return list(detector(data("images/samples/bus.jpg")))


def numbers(receipt: dict[str, Any], group: str) -> dict[str, float]:
    return {m["name"]: m["value"] for m in receipt["measurements"] if m["group"] == group}


@pytest.mark.slow
@pytest.mark.parametrize(("file", "anywhere", "bus"), LAYOUTS)
def test_each_layout_gives_the_reference_boxes(
    edgekit: Edgekit, tmp_path: Path, reference_boxes: list[Detection], file: str, anywhere: float, bus: float
) -> None:
    """The reference is the same trained network, exported by another code base."""
    ran = edgekit(
        "convert",
        data(f"yolov9t_coco/{file}"),
        "--labels",
        "coco",
        "--json",
        "-o",
        tmp_path,
        "--reference",
        data("yolov9t_coco/yolov9t_coco_640.onnx"),
        "--eval",
        data("images/coco128_val2017"),
        "--eval-images",
        8,
    )
    assert ran.code == 0, ran.err
    receipt = ran.json["packages"][0]["receipt"]
    difference = numbers(receipt, "reference")
    assert difference["detected boxes max difference"] < anywhere
    assert difference["detected scores max difference"] < (0.1 if anywhere > 1 else 1e-4)
    source = numbers(receipt, "source")
    assert source["boxes max error"] < 0.01
    assert source["parameters"] > numbers(receipt, "size")["parameters"]
    assert source["FLOPs"] > numbers(receipt, "size")["FLOPs"]
    with load(ran.json["packages"][0]["path"]) as detector:
        found = detector(data("images/samples/bus.jpg"))
    assert [d.label for d in found] == ["bus", "person", "person", "person", "person"]
    assert [d.score for d in found] == pytest.approx([0.96, 0.90, 0.87, 0.84, 0.52], abs=0.01)
    for ours, theirs in zip(found, reference_boxes):
        np.testing.assert_allclose(ours.box, theirs.box, atol=bus)
        assert ours.score == pytest.approx(theirs.score, abs=0.002)


@pytest.mark.slow
def test_w8a8_of_a_real_detector_stays_within_half_a_point(edgekit: Edgekit, tmp_path: Path) -> None:
    """Smaller than it was trained for, which takes a quarter of the time: its measure is its own float original."""
    ran = edgekit(
        "convert",
        data("yolov9t_coco/ultralytics_yolov9t_coco.pt"),
        "--image-size",
        256,
        "-p",
        "w8a8",
        "--json",
        "--calibration",
        data("images/coco32_train2017"),
        "--eval",
        data("images/coco128_val2017"),
        "--launches",
        0,
        "-o",
        tmp_path,
    )
    assert ran.code == 0, ran.out
    package = ran.json["packages"][0]
    accuracy = numbers(package["receipt"], "accuracy")
    assert accuracy["mAP50-95 drop"] <= 0.005
    assert numbers(package["receipt"], "size")["package"] < 4e6
    costs = [r["cost"] for r in package["receipt"]["search"] if r["kind"] == "region"]
    assert len(costs) > 100
    assert costs == sorted(costs, reverse=True)


def yolox_by_hand(image: np.ndarray[Any, Any]) -> list[tuple[int, float]]:
    """YOLOX's own decoding, from its paper and demo: boxes are not needed to count objects."""
    import cv2
    import onnxruntime as ort

    session = ort.InferenceSession(str(data("detectors/yolox_nano/yolox_nano.onnx")))
    ratio = min(416 / image.shape[0], 416 / image.shape[1])
    canvas = np.full((416, 416, 3), 114, np.uint8)
    small = cv2.resize(image, (int(image.shape[1] * ratio), int(image.shape[0] * ratio)))
    canvas[: small.shape[0], : small.shape[1]] = small
    tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32)  # RGB in, BGR to the network
    rows = session.run(None, {"images": tensor})[0][0]
    scores = rows[:, 4:5] * rows[:, 5:]
    best = scores.argmax(1)
    return sorted({(int(best[i]), round(float(scores[i].max()), 2)) for i in np.flatnonzero(scores.max(1) > 0.6)})


def test_yolox_from_a_plain_onnx_file(edgekit: Edgekit, tmp_path: Path) -> None:
    from edgekit.runtime.image import read_image

    ran = edgekit("convert", data("detectors/yolox_nano/yolox_nano.onnx"), "--labels", "coco", "-o", tmp_path, "--json")
    assert ran.code == 0
    path = data("images/samples/bus.jpg")
    with load(ran.json["packages"][0]["path"]) as detector:
        found = detector(path, score_threshold=0.6)
    expected = yolox_by_hand(read_image(path))
    for label in {c for c, _ in expected}:
        ours = max(d.score for d in found if d.class_id == label)
        assert ours == pytest.approx(max(s for c, s in expected if c == label), abs=0.02)


def test_ultraface_counts_the_faces_its_authors_do(edgekit: Edgekit, tmp_path: Path) -> None:
    model = data("detectors/ultraface/version-RFB-320.onnx")
    ran = edgekit("convert", model, "--labels", "face,", "-o", tmp_path, "--json")
    assert ran.code == 0
    with load(ran.json["packages"][0]["path"]) as detector:
        for name, count in (("1", 46), ("11", 25), ("13", 2), ("20", 10), ("24", 8)):
            faces = detector(data(f"images/faces/{name}.jpg"), score_threshold=0.7, iou_threshold=0.3)
            assert len(faces) == count


def test_a_torch_function_and_an_exported_program(edgekit: Edgekit, tmp_path: Path) -> None:
    """Both give the boxes of the checkpoint that they wrap."""
    code = f"""
import torch
from safetensors.torch import load_file
from edgekit.architectures.yolov9 import YOLOv9
from edgekit.sources.yolo_layouts import understand
from pathlib import Path
def detector():
    path = Path({str(SHAPES / "shapes.safetensors")!r})
    found = understand(load_file(str(path)), path)
    network = YOLOv9(found.topology, {{k: v.shape for k, v in found.tensors.items()}})
    network.load(found.tensors)
    return network.eval().deploy(), (torch.zeros(1, 3, 320, 320),)
"""
    (tmp_path / "net.py").write_text(code, encoding="utf-8")
    scope: dict[str, Any] = {}
    exec(code, scope)
    network, inputs = scope["detector"]()
    torch.export.save(torch.export.export(network, inputs), tmp_path / "net.pt2")
    image = SHAPES / "eval" / "images" / "9002-0003.jpg"
    results = []
    for source in (SHAPES / "shapes.safetensors", f"{tmp_path}/net.py:detector", tmp_path / "net.pt2"):
        ran = edgekit("convert", source, "-o", tmp_path / "out", "--json")
        assert ran.code == 0, ran.out
        with load(ran.json["packages"][0]["path"]) as detector:
            results.append(detector.arrays(image))
    for boxes, scores, classes in results[1:]:
        np.testing.assert_allclose(boxes, results[0][0], atol=0.01)
        np.testing.assert_allclose(scores, results[0][1], atol=1e-4)
        np.testing.assert_array_equal(classes, results[0][2])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "precision", "at_half"),
    [
        # onnxruntime, OpenCV and pycocotools alone, at the same thresholds
        ("nanodet_m/nanodet_m.onnx", 0.2486, 0.4172),
        ("fastestdet/FastestDet.onnx", 0.2114, 0.3563),
        # pycocotools' figures in the material's README
        ("../yolov9t_coco/ultralytics_yolov9t_coco.pt", 0.450, 0.611),
        ("picodet_s_320/picodet_s_320.onnx", 0.321, 0.462),
    ],
)
def test_detectors_find_what_their_authors_do(file: str, precision: float, at_half: float) -> None:
    from edgekit.cli.arguments import parse_labels
    from edgekit.conversion.reading import read_model
    from edgekit.data.images import read_dataset
    from edgekit.runtime.image import read_image
    from edgekit.sources.base import SourceOptions
    from edgekit.tasks.detection.evidence import open_model
    from edgekit.tasks.detection.metrics import PROTOCOL, evaluate

    labels = parse_labels("coco")
    dataset = read_dataset(data("images/coco128_val2017"))
    model = read_model(str(data(f"detectors/{file}")), SourceOptions(labels=labels))
    with open_model(model) as detector:
        found = [detector.arrays(read_image(i), **PROTOCOL, iou_threshold=0.7) for i in dataset.images]
    accuracy = evaluate(dataset, found, labels, resamples=2)
    assert accuracy.map == pytest.approx(precision, abs=0.002)
    assert accuracy.map50 == pytest.approx(at_half, abs=0.002)
