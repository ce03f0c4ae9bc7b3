"""Calibration images as the arrays a graph takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgekit.data.images import Dataset
from edgekit.runtime.image import Preprocessor, read_image
from edgekit.spec import DetectionSpec

Array = np.ndarray[Any, Any]


def feeds(dataset: Dataset, spec: DetectionSpec) -> Iterator[dict[str, Array]]:
    """One input dictionary an image, prepared exactly as the runtime prepares it."""
    for path in dataset.images:
        yield {spec.input.name: prepared(read_image(path), spec)}


def prepared(image: Array, spec: DetectionSpec) -> Array:
    buffer = np.zeros(spec.input.shape, spec.input.dtype)
    Preprocessor(spec.image, buffer, spec.input)(image)
    return buffer
