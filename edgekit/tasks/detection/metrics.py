"""COCO detection metrics with a bootstrap over images.

mAP50-95 and mAP50 as COCO defines them (https://cocodataset.org/#detection-eval), through
faster-coco-eval, which agrees with pycocotools. Several labels a box, score above 0.001, 300 boxes
an image, and the IoU threshold that the package uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit.data.images import Dataset, match_categories

Array = np.ndarray[Any, Any]
Predictions = tuple[Array, Array, Array]  # boxes (K, 4) xyxy pixels, scores (K,), classes (K,)

# The settings at which detections are collected for the metric.
PROTOCOL: dict[str, Any] = {"score_threshold": 0.001, "max_detections": 300, "multi_label": True}


@dataclass
class Accuracy:
    """Metrics in 0..1. `samples` holds mAP50-95 of each bootstrap resample of the images."""

    map: float
    map50: float
    images: int
    boxes: int
    samples: Array = field(repr=False)

    def interval(self) -> tuple[float, float]:
        return centred_interval(self.samples, self.map)


def centred_interval(samples: Array, value: float) -> tuple[float, float]:
    """95 % of the resamples' spread, around the measured value: resamples lose rare classes
    altogether, which lifts their mean but says nothing about the detector."""
    low, high = np.percentile(samples - np.median(samples), [2.5, 97.5]) + value
    return float(low), float(high)


def evaluate(
    dataset: Dataset, predictions: Sequence[Predictions], labels: tuple[str, ...], resamples: int = 200
) -> Accuracy:
    """The same seed everywhere: resamples of two packages are of the same images (paired)."""
    from faster_coco_eval import COCO
    from faster_coco_eval.core.faster_eval_api import COCOeval_faster

    categories = match_categories(dataset, labels)
    truth = _ground_truth(dataset)
    results = _results(predictions, categories)
    if not results:
        return Accuracy(0.0, 0.0, len(dataset.images), len(truth["annotations"]), np.zeros(resamples))
    gold = COCO(truth)
    run = COCOeval_faster(gold, gold.loadRes(results), "bbox", print_function=_quiet, separate_eval=True)
    run.params.maxDets = [100]
    run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]  # no small/medium/large
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]
    return Accuracy(
        _mean(precision),
        _mean(precision[0]),
        len(dataset.images),
        len(truth["annotations"]),
        _bootstrap(run, len(dataset.images), resamples),
    )


def _quiet(*args: Any, **kwargs: Any) -> None:
    pass


def _mean(precision: Array) -> float:
    valid = precision[precision > -1]
    return float(valid.mean()) if valid.size else 0.0


def _bootstrap(run: Any, images: int, resamples: int) -> Array:
    """mAP50-95 over resampled images, reusing the per-image matches of one evaluation."""
    from faster_coco_eval import faster_eval_api_cpp

    generator = np.random.default_rng(0)
    matches = list(run._evalImgs_cpp)  # ordered by category, area range, image
    flat = np.empty(len(matches), object)
    flat[:] = matches
    table = flat.reshape(-1, images)
    values = []
    for _ in range(resamples):
        sample = generator.integers(0, images, images)
        result = faster_eval_api_cpp.COCOevalAccumulate(run._paramsEval, table[:, sample].ravel().tolist())
        precision = np.asarray(result["precision"]).reshape(run.eval["precision"].shape)
        values.append(_mean(precision[:, :, :, 0, -1]))
    return np.array(values)


def _ground_truth(dataset: Dataset) -> dict[str, Any]:
    annotations: list[dict[str, Any]] = []
    for index, boxes in enumerate(dataset.boxes):
        for b in boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": b.category,
                    "bbox": [b.x, b.y, b.width, b.height],
                    "area": b.area,
                    "iscrowd": int(b.crowd),
                }
            )
    images = [{"id": i + 1} for i in range(len(dataset.images))]
    categories = [{"id": i, "name": n} for i, n in sorted(dataset.categories.items())]
    return {"images": images, "annotations": annotations, "categories": categories}


def _results(predictions: Sequence[Predictions], categories: dict[int, int]) -> list[dict[str, Any]]:
    results = []
    for index, (boxes, scores, classes) in enumerate(predictions):
        sides = boxes[:, 2:] - boxes[:, :2]
        rows = np.concatenate((boxes[:, :2], sides), 1).tolist()
        for row, score, label in zip(rows, scores.tolist(), classes.tolist()):
            if label in categories:
                results.append({"image_id": index + 1, "category_id": categories[label], "bbox": row, "score": score})
    return results
