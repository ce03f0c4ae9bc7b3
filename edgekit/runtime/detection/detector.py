"""Detectors: images in, labelled boxes in the pixels of those images out."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple, Self, overload

import numpy as np

from edgekit.errors import UsageError
from edgekit.package.folder import Package
from edgekit.runtime.detection.nms import suppress
from edgekit.runtime.engine import Array, EngineOptions, Session
from edgekit.runtime.image import Placement, Preprocessor, read_image
from edgekit.runtime.measuring import Effort, Timings, measure_phases
from edgekit.runtime.opening import open_session
from edgekit.runtime.runner import Runner
from edgekit.spec import DetectionSpec

Image = str | os.PathLike[str] | Array
_CAMERA = (720, 1280, 3)  # the image that is measured with: resizing it is real work


class Detection(NamedTuple):
    """`box`: x1, y1, x2, y2 in pixels of the input image."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    class_id: int


class Detector(Runner):
    """A detection package, ready to run. Not for concurrent use: its buffers are reused."""

    noun = DetectionSpec.noun

    def __init__(self, spec: DetectionSpec, session: Session) -> None:
        self.spec, self.session = spec, session
        self.outputs: dict[str, Array] = {}  # of the last image; reused by the next
        self.prepare = Preprocessor(spec.image, session.input(spec.input.name), spec.input)
        self._integers = [o for o in spec.outputs if o.scale is not None]

    @classmethod
    def open(cls, package: Package, options: EngineOptions) -> Self:
        """Raises UsageError for a package that is no detector; else as `edgekit.runtime.load`."""
        return cls(package.manifest.model_as(DetectionSpec), open_session(package, options))

    @property
    def threads(self) -> int:
        return self.session.threads

    @property
    def simulator(self) -> str:
        return self.session.simulator

    @overload
    def __call__(self, image: Image, **options: Any) -> list[Detection]: ...
    @overload
    def __call__(self, image: list[Image], **options: Any) -> list[list[Detection]]: ...
    def __call__(self, image: Image | list[Image], **options: Any) -> list[Detection] | list[list[Detection]]:
        """Detect in a path or HWC uint8 RGB array; a list of them gives a list of results.
        Returns list[Detection], best first.

        Options: score_threshold, iou_threshold, max_detections (defaults from the package);
        class_agnostic (boxes of different classes suppress each other); multi_label (a box may
        carry several classes, as COCO evaluation does).
        """
        if isinstance(image, list):
            return [self(one, **options) for one in image]
        boxes, scores, classes = self.arrays(image, **options)
        return [
            Detection(self.label(c), s, (x1, y1, x2, y2), c)
            for (x1, y1, x2, y2), s, c in zip(boxes.tolist(), scores.tolist(), classes.tolist())
        ]

    def arrays(
        self,
        image: Image,
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic: bool = False,
        multi_label: bool = False,
    ) -> tuple[Array, Array, Array]:
        """As `__call__`, as arrays: boxes float32 (K, 4), scores float32 (K,), classes int (K,)."""
        pixels = image if isinstance(image, np.ndarray) else read_image(image)
        placement = self.prepare(pixels)
        self.outputs = self.run()
        return self.postprocess(
            self.outputs,
            placement,
            (pixels.shape[0], pixels.shape[1]),
            score_threshold,
            iou_threshold,
            max_detections,
            class_agnostic,
            multi_label,
        )

    def run(self) -> dict[str, Array]:
        """The graph's outputs for the prepared image, as float32 where it gives integers."""
        outputs = self.session.run()
        if not self._integers:
            return outputs
        real = {}
        for o in self._integers:
            zero, scale = np.float32(o.zero_point), np.float32(o.scale)
            real[o.name] = (outputs[o.name] - zero) * scale
        return {**outputs, **real}

    def postprocess(
        self,
        outputs: dict[str, Array],
        placement: Placement,
        image_size: tuple[int, int],
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        class_agnostic: bool = False,
        multi_label: bool = False,
    ) -> tuple[Array, Array, Array]:
        """From the graph's outputs to detections in pixels of the image (height, width)."""
        spec = self.spec
        threshold = spec.score_threshold if score_threshold is None else score_threshold
        overlap = spec.iou_threshold if iou_threshold is None else iou_threshold
        limit = spec.max_detections if max_detections is None else max_detections
        boxes, scores = outputs["boxes"][0], outputs["scores"][0]
        if spec.nms_in_graph:
            indices = np.flatnonzero(scores > threshold)
            indices = indices[np.argsort(-scores[indices], kind="stable")][:limit]
            best, classes = scores[indices], np.rint(outputs["classes"][0][indices]).astype(np.intp)
        else:
            if multi_label:
                classes, indices = np.nonzero(scores > threshold)
                best = scores[classes, indices]
            else:
                indices = np.flatnonzero(scores.max(0) > threshold)
                classes = scores[:, indices].argmax(0)
                best = scores[classes, indices]
            keep = suppress(boxes[indices], best, None if class_agnostic else classes, overlap, limit)
            indices, best, classes = indices[keep], best[keep], classes[keep]
        return _to_image(boxes[indices], placement, image_size), best, classes

    def label(self, class_id: int) -> str:
        """The name of a class, or `class_ID` where the package has none for it."""
        labels = self.spec.labels
        return labels[class_id] if 0 <= class_id < len(labels) else f"class_{class_id}"

    def measure(self, effort: Effort) -> Timings:
        """Times the images of `effort` in turns. Without any, one of a camera's size: it is noise, so there are no boxes,
        and the least suppression. Raises UsageError for a file that holds no image."""
        images = itertools.cycle([_pixels(f) for f in effort.images] or [_noise()])
        sizes: collections.deque[tuple[int, int]] = collections.deque(maxlen=1)

        def prepare() -> Placement:
            image = next(images)
            sizes.append((image.shape[0], image.shape[1]))
            return self.prepare(image)

        def finish(placement: Placement, outputs: dict[str, Array]) -> None:
            self.postprocess(outputs, placement, sizes[0])

        return measure_phases(prepare, self.run, finish, effort)

    def probe(self) -> Mapping[str, Array]:
        """The graph's outputs for an image of noise, as float32 where it gives integers; reused by the next image."""
        size = (self.spec.image.height, self.spec.image.width, 3)
        self(np.random.default_rng(0).integers(0, 256, size, np.uint8))
        return self.outputs

    def close(self) -> None:
        self.session.close()


def _noise() -> Array:
    return np.random.default_rng(0).integers(0, 256, _CAMERA, dtype=np.uint8)


def _pixels(file: str) -> Array:
    array: Array = np.load(file, allow_pickle=False)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise UsageError(f"{file} holds no image", f"it is {array.dtype} {array.shape}", "save uint8 (H, W, 3), RGB")
    return array


def _to_image(boxes: Array, placement: Placement, image_size: tuple[int, int]) -> Array:
    height, width = image_size
    offset = np.array([*placement.offset, *placement.offset], np.float32)
    scale = np.array([*placement.scale, *placement.scale], np.float32)
    limits = np.array([width, height, width, height], np.float32)
    return np.clip((boxes - offset) / scale, 0, limits)
