"""Images in folders that are named after their classes, as torchvision's ImageFolder reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.data.images import Dataset
from edgekit.data.images.folder import images_in
from edgekit.errors import DataError


def read_images(folder: Path, count: int | None = None) -> Dataset:
    """At most `count`, the classes in turns. Raises DataError when there are none."""
    paths, left_out = images_in(folder)
    by_class: dict[str, list[Path]] = {}
    for path in paths:
        by_class.setdefault(path.parent.name, []).append(path)
    longest = max(map(len, by_class.values()))
    turns = [images[i] for i in range(longest) for images in by_class.values() if i < len(images)]
    return Dataset(folder, turns[:count], [[] for _ in turns[:count]], left_out=left_out)


def truth(dataset: Dataset, labels: tuple[str, ...]) -> list[int]:
    """The class of each image. Raises DataError for a folder that is no label."""
    unknown = sorted({p.parent.name for p in dataset.images} - set(labels))
    if unknown:
        raise DataError(
            f"{dataset.folder} has a folder {unknown[0]}, and the model has no such class",
            f"its classes: {', '.join(labels[:10])}",
            "name the folders after the labels",
        )
    return [labels.index(p.parent.name) for p in dataset.images]


@dataclass(frozen=True)
class ClassData:
    calibrating: Dataset | None
    evaluating: Dataset | None

    @property
    def calibration_count(self) -> int:
        return len(self.calibrating.images) if self.calibrating else 0

    @property
    def calibration_sha256(self) -> str:
        return self.calibrating.fingerprint() if self.calibrating else ""
