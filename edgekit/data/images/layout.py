"""Where a YOLO-style data set has its images and their labels, and which part of it is meant.

set/images  set/labels                 with splits below each (images/val2017, labels/val2017), as Ultralytics lays out
set/valid/images  set/valid/labels     as Roboflow does, data.yaml above
set/a.jpg  set/a.txt                   as labelImg and Darknet do
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgekit.data.images.folder import READ, files_in
from edgekit.data.images.names import read_yaml
from edgekit.errors import DataError, UsageError, guard

_SPLIT = re.compile(r"(train|val|valid|validation|test|dev|minival)([-_]?\w*\d)?", re.IGNORECASE)
_LOOKED_AT = 64  # images beside which labels are looked for
_HEAD = 4096  # bytes of a file


@dataclass(frozen=True)
class Layout:
    """`places`: folders that may state the classes' names, the nearest first."""

    images: Path
    labels: Path
    places: tuple[Path, ...]


def layout_of(folder: Path) -> Layout | None:
    """None for images without labels. Raises UsageError where several splits may be meant."""
    if (labels := folder / "labels").is_dir():
        inside = folder / "images" if (folder / "images").is_dir() else folder
        places = (folder, labels, *_above(folder))
        parts = splits(inside)
        labelled = [p for p in parts if (labels / p.name).is_dir()]
        _ask(labelled, folder)
        if labelled and len(parts) > 1:  # the others would count as images of nothing
            return Layout(labelled[0], labels / labelled[0].name, places)
        return Layout(inside, labels, places)
    if (paired := _paired(folder)) is not None:
        root, labels = paired
        return Layout(folder, labels, (root, labels, *_above(root)))
    if _labels_beside(folder):
        return Layout(folder, folder, (folder, *_above(folder)))
    return None


def split_of(folder: Path) -> Path | None:
    """The one split below a folder that has annotations or labels of its own. Raises UsageError for several."""
    if (folder / "labels").is_dir():
        return None
    candidates = [p for p in splits(folder) if (p / "labels").is_dir() or any(p.glob("*.json"))]
    _ask(candidates, folder)
    return candidates[0] if candidates else None


def images_of(settings: Path) -> tuple[Path, str]:
    """The folder of images that a data.yaml states for measuring, and which of its splits that is. Raises DataError
    for one that is not there or leads elsewhere, UsageError where it names no single folder."""
    with guard(DataError, f"{settings} cannot be read", "mend it"):
        document = read_yaml(settings)
    here = settings.absolute().parent
    for split in ("val", "test"):
        stated = document.get(split)
        if stated is None:
            continue
        if not isinstance(stated, str) or stated.endswith(".txt"):
            break
        base = document.get("path")
        bases = [here / base, here] if isinstance(base, str) else [here]
        places = [b / n for b in bases for n in (stated, stated.removeprefix("../"))]  # as Roboflow writes it
        folder = next((p for p in places if p.is_dir() and Path(os.path.normpath(p)).is_relative_to(here)), None)
        if folder is None:
            raise DataError(
                f"{settings.name} says that its {split} images are in {ascii(stated)[:80]}",
                f"there is no such folder in {here}",
                "pass the folder of images itself",
            )
        return folder, split
    raise UsageError(
        f"{settings.name} names no folder of images to measure with",
        "its val would be one, a text",
        "pass the folder of images itself, or the one above its images/ and labels/",
    )


def splits(folder: Path) -> list[Path]:
    """The folders in it that have the usual name of a split."""
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and _SPLIT.fullmatch(p.name)]


def _ask(candidates: list[Path], folder: Path) -> None:
    """Raises UsageError for more than one split: what a detector learnt from is no measure of it."""
    if len(candidates) > 1:
        names = ", ".join(str(p.relative_to(folder)) for p in candidates)
        best = next((p for p in candidates if p.name.lower().startswith("val")), candidates[0])
        raise UsageError(
            f"{folder} has {len(candidates)} splits: {names}",
            "each may be meant",
            f"pass one of them instead of the folder: {best}",
        )


def _paired(folder: Path) -> tuple[Path, Path] | None:
    """The root and the labels of a folder of images: those of the same path with `labels` for its last `images`."""
    parts = folder.absolute().parts
    for at in range(len(parts) - 1, 0, -1):
        if parts[at] == "images":
            labels = Path(*parts[:at], "labels", *parts[at + 1 :])
            return (Path(*parts[:at]), labels) if labels.is_dir() else None
    return None


def _above(folder: Path) -> tuple[Path, ...]:
    """The folder above a split, which states the names for all."""
    folder = folder.absolute()
    return (folder.parent,) if _SPLIT.fullmatch(folder.name) else ()


def _labels_beside(folder: Path) -> bool:
    """Whether texts beside images are labels, and no captions."""
    for text in _texts_beside(folder):
        with text.open("rb") as file:
            line = file.read(_HEAD).removeprefix(b"\xef\xbb\xbf").strip().split(b"\n")[0]
        if line:
            return _is_numbers(line.split())
    return False


def _is_numbers(words: list[bytes]) -> bool:
    try:
        return len([float(w) for w in words]) >= 5
    except ValueError:
        return False


def _texts_beside(folder: Path) -> Iterator[Path]:
    images = (p for p, hidden in files_in(folder) if not hidden and p.suffix.lower() in READ)
    for _, image in zip(range(_LOOKED_AT), images):
        if (text := image.with_suffix(".txt")).is_file():
            yield text
