"""Images with boxes, however they lay on disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgekit.errors import UsageError


@dataclass(frozen=True)
class Box:
    """x, y, width, height in pixels of the upright image; `crowd` regions are ignored by the metric."""

    category: int
    x: float
    y: float
    width: float
    height: float
    area: float
    crowd: bool = False


@dataclass
class Dataset:
    """`boxes` has one list for each image; `categories` maps their ids to names ("" if unknown).
    `left_out`: what lay in the folder and is not used, in sentences."""

    folder: Path
    images: list[Path]
    boxes: list[list[Box]] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def annotated(self) -> bool:
        return any(self.boxes)

    def first(self, count: int | None) -> Dataset:
        if count is None or count >= len(self.images):
            return self
        return replace(self, images=self.images[:count], boxes=self.boxes[:count])

    def without_boxes(self) -> Dataset:
        return replace(self, boxes=[[] for _ in self.images])

    def fingerprint(self) -> str:
        """SHA-256 over the images' bytes and boxes, in order: what a receipt cites."""
        digest = hashlib.sha256()
        for path in self.images:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        digest.update(repr(self.boxes).encode())
        return digest.hexdigest()


def listed(paths: list[Path], folder: Path, most: int = 3) -> str:
    """The first names of files, as an error names them."""
    names = [str(p.relative_to(folder)) if p.is_relative_to(folder) else p.name for p in paths[:most]]
    return ", ".join(names) + (f" and {len(paths) - most} more" if len(paths) > most else "")


def no_such(path: Path) -> UsageError:
    return UsageError(
        f"There is no folder {path}", "", "pass a folder with images/ and an annotations .json, or images/ and labels/"
    )
