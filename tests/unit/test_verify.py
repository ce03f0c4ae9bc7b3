"""Metrics: COCO's numbers as pycocotools has them, parity as its definition says."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from edgekit.data.images import Dataset, match_categories, read_dataset
from edgekit.errors import DataError
from edgekit.tasks.detection.distance import detection_error
from edgekit.tasks.detection.metrics import Predictions, evaluate
from edgekit.tasks.detection.parity import Parity
from tests.data import SHAPES


def noisy(dataset: Dataset, seed: int) -> list[Predictions]:
    """Predictions with misses, shifts, duplicates and wrong classes."""
    random = np.random.default_rng(seed)
    ids = sorted(dataset.categories)
    found = []
    for boxes in dataset.boxes:
        rows, scores, classes = [np.zeros((0, 4))], [], []
        for b in boxes:
            for _ in range(random.integers(0, 3)):
                shift = random.normal(0, 0.08, 4) * [b.width, b.height] * 2 if False else random.normal(0, 3, 4)
                rows.append(np.array([[b.x, b.y, b.x + b.width, b.y + b.height]]) + shift)
                scores.append(random.random())
                classes.append(ids.index(b.category) if random.random() < 0.9 else 0)
        found.append((np.concatenate(rows).astype(np.float32), np.array(scores), np.array(classes, int)))
    return found


def pycocotools(dataset: Dataset, predictions: list[Predictions], file: Path) -> list[float]:
    truth = json.loads(file.read_text(encoding="utf-8"))
    names = {e["file_name"]: e["id"] for e in truth["images"]}
    ids = sorted(dataset.categories)
    rows = [
        {
            "image_id": names[path.name],
            "category_id": ids[c],
            "score": float(s),
            "bbox": [float(v) for v in (b[0], b[1], b[2] - b[0], b[3] - b[1])],
        }
        for path, (boxes, scores, classes) in zip(dataset.images, predictions)
        for b, s, c in zip(boxes, scores, classes)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(str(file))
        run = COCOeval(gold, gold.loadRes(rows), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [float(run.stats[0]), float(run.stats[1])]


@pytest.mark.parametrize("seed", [0, 1])
def test_map_is_pycocotools(seed: int) -> None:
    dataset = read_dataset(SHAPES / "eval")
    predictions = noisy(dataset, seed)
    labels = tuple(dataset.categories[i] for i in sorted(dataset.categories))
    got = evaluate(dataset, predictions, labels, resamples=20)
    expected = pycocotools(dataset, predictions, SHAPES / "eval" / "instances.json")
    assert [got.map, got.map50] == pytest.approx(expected, abs=1e-6)
    low, high = got.interval()
    assert low < got.map < high


def test_no_detection_at_all_is_zero() -> None:
    dataset = read_dataset(SHAPES / "eval")
    labels = tuple(dataset.categories.values())
    empty = (np.zeros((0, 4), np.float32), np.zeros(0), np.zeros(0, int))
    assert evaluate(dataset, [empty] * len(dataset.images), labels).map == 0.0


def test_yolo_and_coco_folders_say_the_same(tmp_path: Path) -> None:
    coco = read_dataset(SHAPES / "eval").first(6)
    (tmp_path / "labels").mkdir()
    (tmp_path / "images").mkdir()
    ids = sorted(coco.categories)
    for path, boxes in zip(coco.images, coco.boxes):
        import cv2

        h, w = cv2.imread(str(path)).shape[:2]
        (tmp_path / "images" / path.name).write_bytes(path.read_bytes())
        lines = [
            f"{ids.index(b.category)} {(b.x + b.width / 2) / w} {(b.y + b.height / 2) / h} {b.width / w} {b.height / h}"
            for b in boxes
        ]
        (tmp_path / "labels" / f"{path.stem}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = ", ".join(repr(coco.categories[i]) for i in ids)
    (tmp_path / "data.yaml").write_text(f"names: [{names}]\n", encoding="utf-8")
    yolo = read_dataset(tmp_path)
    assert list(yolo.categories.values()) == [coco.categories[i] for i in ids]
    for a, b in zip(yolo.boxes, coco.boxes):
        assert [(round(x.x, 3), round(x.width, 3)) for x in a] == [(round(x.x, 3), round(x.width, 3)) for x in b]


def test_classes_match_by_name_then_by_position() -> None:
    dataset = Dataset(Path(), [], [], {3: "cat", 7: "dog"})
    assert match_categories(dataset, ("dog", "bird", "Cat ")) == {0: 7, 2: 3}
    assert match_categories(dataset, ("class_0", "class_1")) == {0: 3, 1: 7}
    with pytest.raises(DataError, match="do not match"):
        match_categories(dataset, ("car", "bus", "truck"))


def test_parity_by_its_definition() -> None:
    found = Parity()
    found.add({"x": np.array([3.0, 4.0])}, {"x": np.array([3.0, 4.5])})
    assert found.snr("x") == pytest.approx(10 * np.log10(25 / 0.25))
    assert found.worst["x"] == 0.5
    exact = Parity()
    exact.add({"x": np.ones(3)}, {"x": np.ones(3)})
    assert exact.snr("x") == 200.0


def test_detection_error_sees_lost_detections() -> None:
    boxes = np.array([[[0, 0, 10, 10], [20, 20, 30, 30]]], np.float32)
    scores = np.array([[[0.9, 0.01]]], np.float32)
    same = [{"boxes": boxes, "scores": scores}]
    assert detection_error(same, same) == 0.0
    blind = [{"boxes": boxes, "scores": scores * 0}]
    assert detection_error(same, blind) == pytest.approx(0.9)
    moved = [{"boxes": boxes + 100, "scores": scores}]
    assert detection_error(same, moved) == pytest.approx(1.0)
