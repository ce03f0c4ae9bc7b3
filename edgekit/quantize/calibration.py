"""Calibration images as the arrays a graph takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgekit.data.images import Dataset
from edgekit.errors import ConversionError
from edgekit.model import GraphModel
from edgekit.runtime.image import Preprocessor, read_image
from edgekit.spec.values import ImageModel

Array = np.ndarray[Any, Any]


def image_spec(model: GraphModel) -> ImageModel:
    """The spec of a model that takes images. Raises ConversionError for another."""
    if isinstance(model.spec, ImageModel):
        return model.spec
    raise ConversionError(f"{model.name} takes no images", "it cannot be calibrated on them", "use a float precision")


def feeds(dataset: Dataset, spec: ImageModel) -> Iterator[dict[str, Array]]:
    """One input dictionary an image, prepared exactly as the runtime prepares it."""
    for path in dataset.images:
        yield {spec.input.name: prepared(read_image(path), spec)}


def prepared(image: Array, spec: ImageModel) -> Array:
    buffer = np.zeros(spec.input.shape, spec.input.dtype)
    Preprocessor(spec.image, buffer, spec.input)(image)
    return buffer
