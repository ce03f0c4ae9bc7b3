"""Whether a detector was read as it was meant: what it gives for real images, before anything is compiled.

Scores that are no probabilities, classes that are no numbers of classes, boxes that are nowhere in the picture show
that the layout was taken for another one. A network that was never trained passes: nothing is asked of what it sees,
unless there are boxes to compare with.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import progress
from edgekit.data.images import Dataset
from edgekit.errors import SourceError
from edgekit.graph.dequantise import WAS_QUANTISED
from edgekit.model import GraphModel
from edgekit.package.receipt import Reason, Trip
from edgekit.runtime.detection.detector import Detector
from edgekit.runtime.image import read_image
from edgekit.spec import DetectionSpec
from edgekit.tasks.detection.alternatives import Alternatives, prepared_otherwise
from edgekit.tasks.detection.evidence import open_model
from edgekit.tasks.detection.metrics import PROTOCOL, Predictions, evaluate

Array = np.ndarray[Any, Any]

SAMPLE = Path(__file__).with_name("sample") / "grace_hopper.jpg"  # its origin lies beside it
_LOOKED_AT = 4  # images
_COMPARED = 32  # images with boxes
_BEST = 100  # boxes an image
_ALL = 0.98  # of them, where everything fails in one way
_FOUND = 0.01  # mAP50 at least, where there are boxes to find
_FEWEST = 5  # boxes that tell
_CLOSE = 1e-3
_NEXT = (
    "check its export, --labels and --decoder (edgekit convert --help); --allow misread writes the package all the same"
)


def check_plausible(model: GraphModel, dataset: Dataset | None, allowed: Collection[Reason] = ()) -> tuple[Trip, ...]:
    """What shows that a detector was misread, when that is allowed. Raises SourceError when it is not.

    `dataset`: the user's images, with or without boxes; the picture that edgekit carries without.
    """
    spec = model.spec_as(DetectionSpec)
    with open_model(model) as detector:
        trips = [*_outputs(detector, dataset, spec), *_found(detector, dataset, spec)]
    if trips and Reason.MISREAD not in allowed:
        raise SourceError(
            f"{model.source.name} was misread as {spec.decoder}, or is damaged: {trips[0].message}",
            "; ".join((*trips[0].details, *_quantised(model))),
            _NEXT,
        )
    return tuple(trips)


def _quantised(model: GraphModel) -> tuple[str, ...]:
    """Another cause, of a file that gives nothing in any runtime."""
    if not any(n.startswith(WAS_QUANTISED) for n in model.source.notes):
        return ()
    return (f"{WAS_QUANTISED}, and its weights as they were rounded may be all that is wrong: convert the float model",)


@dataclass
class _Seen:
    """What is wrong with the outputs, over all images that were tried."""

    wrong: dict[str, str] = field(default_factory=dict)
    boxes: list[Array] = field(default_factory=list)
    low: float = np.inf
    high: float = -np.inf


def _images(dataset: Dataset | None) -> list[Path]:
    return list(dataset.images[:_LOOKED_AT]) if dataset is not None and dataset.images else [SAMPLE]


def _outputs(detector: Detector, dataset: Dataset | None, spec: DetectionSpec) -> Iterator[Trip]:
    """Yields a trip for each way in which the outputs cannot be those of a detector, whatever the images show."""
    seen = _Seen()
    images = _images(dataset)
    for path in images:
        detector.prepare(read_image(path))
        _look(detector.run(), spec, seen)
    where = f"{len(images)} of your images" if dataset is not None else "the picture that edgekit carries"
    if not seen.wrong and seen.high == seen.low:
        seen.wrong["it gives every box the same score"] = f"{seen.high:.4g}"
    if seen.boxes and not seen.wrong:
        _sizes(np.concatenate(seen.boxes), spec, seen, dataset is not None)
    for message, detail in seen.wrong.items():
        yield Trip(Reason.MISREAD, message, (f"{detail}, on {where}",))


def _look(outputs: dict[str, Array], spec: DetectionSpec, seen: _Seen) -> None:
    boxes, scores = outputs["boxes"][0], outputs["scores"][0]
    for name, values in (("boxes", boxes), ("scores", scores)):
        if not np.isfinite(values).all():
            seen.wrong[f"its {name} are not finite"] = "there are NaN or infinity among them"
            return
    if scores.size:
        low, high = float(scores.min()), float(scores.max())
        # -1 is how some exporters fill rows where nothing was found
        if high > 1 + _CLOSE or (low < -_CLOSE and not (spec.nms_in_graph and (scores[scores < 0] == -1).all())):
            seen.wrong["its scores are no probabilities"] = f"they go from {low:.4g} to {high:.4g}"
        seen.low, seen.high = min(seen.low, low), max(seen.high, high)
    if not spec.nms_in_graph:
        best = np.argsort(-scores.max(0), kind="stable")[:_BEST]
    else:
        best = np.flatnonzero(scores > PROTOCOL["score_threshold"])
        best = best[np.argsort(-scores[best], kind="stable")][:_BEST]
        _classes(outputs["classes"][0][best], spec, seen)
        if len(scores) < 2:
            seen.low = -np.inf  # one box has one score
    seen.boxes.append(boxes[best])


def _classes(classes: Array, spec: DetectionSpec, seen: _Seen) -> None:
    if not classes.size:
        return
    if not np.isfinite(classes).all() or np.abs(classes - np.rint(classes)).max() > _CLOSE or classes.min() < -_CLOSE:
        strange = [c for c in classes if not np.isfinite(c) or abs(c - np.rint(c)) > _CLOSE or c < -_CLOSE]
        seen.wrong["its classes are no numbers of classes"] = f"one is {float(strange[0]):.4g}"
    elif spec.labels and classes.max() > len(spec.labels) - 1 + _CLOSE:
        one = "; they may count from 1, and class 0 need a name as well"
        seen.wrong["it gives classes that have no name"] = (
            f"class {classes.max():.0f}, and there are {len(spec.labels)} labels"
            + (one if round(float(classes.max())) == len(spec.labels) else "")
        )


def _sizes(boxes: Array, spec: DetectionSpec, seen: _Seen, its_kind: bool) -> None:
    """That the best boxes do not all fail in one way: another unit, another order of their numbers.

    Those of a network without training fail in several ways at once, and are let through; so are sizes below
    nought where a picture is not of the kind that it knows.
    """
    if len(boxes) < _FEWEST:
        return
    width, height = spec.image.width, spec.image.height
    sides = boxes[:, 2:] - boxes[:, :2]
    turned = (sides < 0).any(1)
    tiny = ~turned & (sides < 1).all(1)
    huge = ~turned & ((sides[:, 0] > 4 * width) | (sides[:, 1] > 4 * height))
    outside = ~turned & ((boxes[:, 0] > width) | (boxes[:, 1] > height) | (boxes[:, 2] < 0) | (boxes[:, 3] < 0))
    for which, what in (
        (turned & (its_kind or spec.nms_in_graph), "end before they begin"),
        (tiny, "are smaller than a pixel"),
        (huge, "are larger than four pictures"),
        (outside, "lie outside the picture"),
    ):
        if which.mean() > _ALL:
            seen.wrong[f"its boxes {what}"] = f"{int(which.sum())} of the {len(boxes)} best"


def _found(detector: Detector, dataset: Dataset | None, spec: DetectionSpec) -> Iterator[Trip]:
    """Yields a trip where the detector finds nothing of what is annotated."""
    if dataset is None or not dataset.annotated:
        return
    annotated = [i for i, boxes in enumerate(dataset.boxes) if boxes][:_COMPARED]
    count = sum(len(dataset.boxes[i]) for i in annotated)
    if count < _FEWEST:
        return
    few = replace(dataset, images=[dataset.images[i] for i in annotated], boxes=[dataset.boxes[i] for i in annotated])
    predictions: list[Predictions] = []
    alternatives = Alternatives(detector)
    for index in progress.track(range(len(few.images)), "looking whether it finds anything", len(few.images)):
        predictions.append(alternatives.add(read_image(few.images[index])))
    accuracy = evaluate(few, predictions, spec.labels, resamples=1)
    better = list(alternatives.better(few, accuracy.map50))
    for message, details in better:
        yield Trip(Reason.MISREAD, message, details)
    if accuracy.map50 >= _FOUND or better:
        return
    hit = _overlapped(few, predictions)
    otherwise = prepared_otherwise(detector, few)
    why = [
        f"mAP50 {accuracy.map50:.3f} on {len(annotated)} of your images with {count} boxes",
        f"{hit} of them overlap with a box it gives, of whatever class",
        *([otherwise] if otherwise else []),
    ]
    yield Trip(Reason.MISREAD, "it finds nothing of what is annotated", tuple(why))


def _overlapped(dataset: Dataset, predictions: list[Predictions]) -> int:
    """How many annotated boxes have an IoU above one half with one of the twenty best."""
    hits = 0
    for truth, (boxes, scores, _) in zip(dataset.boxes, predictions):
        best = boxes[np.argsort(-scores, kind="stable")[:20]]
        for b in truth:
            low = np.maximum(best[:, :2], [b.x, b.y])
            high = np.minimum(best[:, 2:], [b.x + b.width, b.y + b.height])
            shared = np.maximum(high - low, 0).prod(1)
            union = (best[:, 2:] - best[:, :2]).prod(1) + b.width * b.height - shared
            hits += bool((shared > 0.5 * union).any())
    return hits
