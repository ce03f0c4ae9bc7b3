"""Images to measure with, as arrays that any device reads with numpy alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgekit.data.images import Dataset
from edgekit.runtime.image import read_image


def write_pictures(dataset: Dataset, folder: Path) -> None:
    """Each image as uint8 (H, W, 3) RGB in a .npy file, in the dataset's order."""
    for index, path in enumerate(dataset.images):
        np.save(folder / f"{index:04}.npy", read_image(path))
