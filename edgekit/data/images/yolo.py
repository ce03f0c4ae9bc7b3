"""Annotations in YOLO's format: a text file for each image, a line for each object.

A line is `class centre-x centre-y width height`, followed by nothing, a confidence, or keypoints; or
`class x y x y …`, an outline. All but the class in parts of the image's upright width and height
(https://docs.ultralytics.com/datasets).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.data.images.drawn import Drawn, centres
from edgekit.data.images.layout import Layout
from edgekit.data.images.names import NAMES, Facts
from edgekit.data.images.records import Box, Dataset, listed
from edgekit.data.images.stated import named_once
from edgekit.errors import DataError, UsageError
from edgekit.runtime.image import image_size
from edgekit.system.documents import DocumentError, read_utf8

_LARGEST = 2**29  # bytes of a file of labels
_CLASSES = 100_000
_SLACK = 0.01  # how far beyond the image's edge a number may lie
_CERTAIN = 8  # so many lines that all read as keypoints are no outlines by chance


@dataclass(frozen=True)
class _Line:
    category: int
    values: tuple[float, ...]
    file: Path


def read_yolo(folder: Path, layout: Layout, facts: Facts, images: list[Path], left_out: tuple[str, ...]) -> Dataset:
    """Raises DataError for labels in another format, UsageError where two readings are possible."""
    files = [layout.labels / p.relative_to(layout.images).with_suffix(".txt") for p in images]
    left_out += _unpaired(folder, layout, images, files)
    lines = [[_line(row, f) for row in _rows(f) if row.strip()] if f.is_file() else [] for f in files]
    every = [line for image in lines for line in image]
    keypoints = _has_keypoints(every, facts, folder)
    _check_drawn([v for v in every if not _is_outline(v, keypoints)], folder)
    facts.check({line.category: line.file.name for line in reversed(every)})
    boxes = []
    for path, its in zip(images, lines):
        width, height = image_size(path) if its else (0, 0)
        boxes.append([_box(line, width, height, keypoints) for line in its])
    count = 1 + max([*facts.names, *(line.category for line in every)], default=-1)
    categories = {i: facts.names.get(i, "") for i in range(count)}
    categories = named_once(facts.file, categories, Counter(line.category for line in every))
    return Dataset(folder, images, boxes, categories, left_out)


def _unpaired(folder: Path, layout: Layout, images: list[Path], files: list[Path]) -> tuple[str, ...]:
    """What has no partner, in sentences. Raises DataError for two images of one file of labels."""
    there = Counter(f for f in files if f.is_file())
    shared = [p for p, f in zip(images, files) if there[f] > 1]
    if shared:
        raise DataError(
            f"{len(shared)} images of {folder} share files of labels: {listed(shared, folder)}",
            "whose the boxes are is not to be told, and both would count",
            "remove or rename all but one of those that are called the same",
        )
    notes = []
    if without := len(files) - len(there):
        notes.append(
            f"{without} of {len(images)} images of {folder.name} have no file of labels: taken to show nothing"
        )
    if layout.labels != layout.images:
        left = {p for p in layout.labels.rglob("*.txt") if p.name not in NAMES} - there.keys()
        if left:
            notes.append(f"{len(left)} files of labels of {folder.name} have no image: {listed(sorted(left), folder)}")
    return tuple(notes)


def _check_drawn(lines: list[_Line], folder: Path) -> None:
    corners = centres([Drawn(*line.values[:4]) for line in lines])
    if corners:
        raise DataError(
            f"The labels of {folder} do not fit their images",
            f"read as a centre and a size, boxes reach beyond the image; they look like {corners} "
            f"({lines[0].file.name} is the first)",
            "write each line as: class centre-x centre-y width height, the last four in 0..1",
        )


def _rows(file: Path) -> list[str]:
    try:
        return read_utf8(file, _LARGEST).splitlines()
    except DocumentError as error:
        raise DataError(f"{file.name} cannot be read", str(error), "mend or remove it") from error


def _line(row: str, file: Path) -> _Line:
    try:
        category, *values = (float(v) for v in row.split())
        if not 0 <= category < _CLASSES or not category.is_integer():
            raise ValueError(f"classes are whole numbers below {_CLASSES}")
        if len(values) < 4:
            raise ValueError(f"{len(values)} numbers after the class")
        flat = len(values) % 2 == 1 and len(values) > 5  # keypoints with a visibility of 0, 1 or 2
        limit = 2.0 if flat or _visible(values) else 1 + _SLACK
        if not all(-_SLACK <= v <= limit for v in values) or not all(v <= 1 + _SLACK for v in values[:4]):
            raise ValueError("what stands after the class lies in 0..1")
        return _Line(int(category), tuple(values), file)
    except ValueError as error:
        raise DataError(
            f"{file.name} is not in YOLO's format",
            f"the line {row[:60]!r}: {error}",
            "each line is: class centre-x centre-y width height, the last four in 0..1",
        ) from error


def _visible(values: Sequence[float]) -> bool:
    """Whether every third number after a box is a visibility."""
    rest = values[4:]
    return len(rest) >= 3 and len(rest) % 3 == 0 and all(v in (0.0, 1.0, 2.0) for v in rest[2::3])


def _has_keypoints(lines: list[_Line], facts: Facts, folder: Path) -> bool:
    """Whether lines with an even count of numbers are a box and its keypoints, not an outline."""
    long = [line for line in lines if len(line.values) > 5 and len(line.values) % 2 == 0]
    if not long or facts.keypoints is not None:
        return bool(facts.keypoints)
    if len({len(line.values) for line in long}) > 1 or not all(_is_box(line.values) for line in long):
        return False  # keypoints are alike in number, and start with a box that lies in the image
    if all(_visible(line.values) for line in long):
        return True
    inside = all(_points_in_box(line.values) for line in long)
    if inside and len(long) >= _CERTAIN:
        return True
    raise UsageError(
        f"Whether the labels of {folder} are outlines or keypoints cannot be told",
        f"{len(long)} lines have {len(long[0].values)} numbers each, which either may have "
        f"({long[0].file.name} is the first)",
        "say it in data.yaml: `kpt_shape: [count, 2]` for keypoints, `task: segment` for outlines",
    )


def _edges(values: Sequence[float]) -> tuple[float, float, float, float]:
    cx, cy, w, h = values[:4]
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def _is_box(values: Sequence[float]) -> bool:
    return all(-_SLACK <= v <= 1 + _SLACK for v in _edges(values))


def _points_in_box(values: Sequence[float]) -> bool:
    left, top, right, bottom = _edges(values)
    slack_x, slack_y = 0.1 * (right - left) + _SLACK, 0.1 * (bottom - top) + _SLACK
    points = zip(values[4::2], values[5::2])
    return all(
        (x == 0 and y == 0) or (left - slack_x <= x <= right + slack_x and top - slack_y <= y <= bottom + slack_y)
        for x, y in points
    )


def _is_outline(line: _Line, keypoints: bool) -> bool:
    return len(line.values) > 5 and len(line.values) % 2 == 0 and not keypoints


def _box(line: _Line, width: int, height: int, keypoints: bool) -> Box:
    values = line.values
    if _is_outline(line, keypoints):
        xs, ys = values[0::2], values[1::2]
        left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
    else:
        left, top, right, bottom = _edges(values)
    w, h = (right - left) * width, (bottom - top) * height
    return Box(line.category, left * width, top * height, w, h, w * h)
