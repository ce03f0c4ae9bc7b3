"""Whether a detector's boxes and classes would fit the annotations far better, were they read in another way.

Some misreadings leave a part right, so that it finds something: the two axes of boxes taken for each other, classes
that count from one. Others leave nothing, but its images may just be prepared otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgekit.data.images import Dataset
from edgekit.runtime.detection.detector import Detector
from edgekit.runtime.image import read_image
from edgekit.spec import ImageSpec
from edgekit.tasks.detection.metrics import PROTOCOL, Predictions, evaluate

Array = np.ndarray[Any, Any]
Outputs = dict[str, Array]

_FAR = 2.0  # times the mAP50 it has
_LEAST = 0.1  # more mAP50, at least
_FEW = 8  # images, for what has to run again


def _axes_changed(outputs: Outputs) -> Outputs:
    return {**outputs, "boxes": outputs["boxes"][..., [1, 0, 3, 2]]}


def _from_one(outputs: Outputs) -> Outputs:
    if "classes" in outputs:
        return {**outputs, "classes": outputs["classes"] - 1}
    return {**outputs, "scores": np.roll(outputs["scores"], -1, 1)}


_READINGS: tuple[tuple[Callable[[Outputs], Outputs], str, str], ...] = (
    (_axes_changed, "its boxes are y1 x1 y2 x2, and were read as x1 y1 x2 y2", "export them with x first"),
    (
        _from_one,
        "its classes count from 1, and were read as counting from 0",
        "give a name for class 0 as well: put one like background before the others in --labels",
    ),
)


@dataclass
class Alternatives:
    """The predictions for each image if its outputs were read in other ways."""

    detector: Detector
    predictions: list[list[Predictions]] = field(default_factory=lambda: [[] for _ in _READINGS])

    def add(self, image: Array) -> Predictions:
        """Runs the detector on an image and returns its predictions as they are read now."""
        placement = self.detector.prepare(image)
        outputs = {n: a.copy() for n, a in self.detector.run().items()}
        size = (image.shape[0], image.shape[1])
        for (change, _, _), predictions in zip(_READINGS, self.predictions):
            predictions.append(self.detector.postprocess(change(outputs), placement, size, **PROTOCOL))
        return self.detector.postprocess(outputs, placement, size, **PROTOCOL)

    def better(self, dataset: Dataset, map50: float) -> Iterator[tuple[str, tuple[str, ...]]]:
        """(what was misread, details) of those that are far better."""
        for (_, what, how), predictions in zip(_READINGS, self.predictions):
            other = evaluate(dataset, predictions, self.detector.spec.labels, resamples=1).map50
            if other > _FAR * map50 and other > map50 + _LEAST:
                yield (
                    what,
                    (
                        f"mAP50 is {map50:.3f} as it was read, and {other:.3f} so, on {len(predictions)} of your images",
                        how,
                    ),
                )


def prepared_otherwise(detector: Detector, dataset: Dataset) -> str:
    """How images have to be prepared for one that finds nothing, where that is all; "" where it is not."""
    few = replace(dataset, images=dataset.images[:_FEW], boxes=dataset.boxes[:_FEW])
    best, words = _LEAST, ""
    for image in _preparations(detector.spec.image):
        other = Detector(replace(detector.spec, image=image), detector.session)
        predictions = [other.arrays(read_image(path), **PROTOCOL) for path in few.images]
        map50 = evaluate(few, predictions, detector.spec.labels, resamples=1).map50
        if map50 > best:
            numbers = (",".join(f"{v:g}" for v in values) for values in (image.mean, image.std))
            said = " ".join(f"--{n} {v}" for n, v in zip(("mean", "std"), numbers))
            best, words = map50, f"with {said} mAP50 is {map50:.3f} on {len(predictions)} of them"
    return words


def _preparations(image: ImageSpec) -> list[ImageSpec]:
    """How others prepare images: pixels as they are, in 0..1, in -1..1, and by ImageNet's mean and deviation."""
    ways = (
        ((0.0,) * 3, (1.0,) * 3),
        ((0.0,) * 3, (255.0,) * 3),
        ((127.5,) * 3, (127.5,) * 3),
        ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    )
    return [replace(image, mean=m, std=s) for m, s in ways if (m, s) != (image.mean, image.std)]
