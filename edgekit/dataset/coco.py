"""Annotations in COCO's format (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.dataset.records import Box, Dataset, listed
from edgekit.documents import DocumentError, read_json
from edgekit.errors import DataError, UsageError
from edgekit.runtime.image import image_size

_LARGEST, _IDS = 2**29, 2**31  # bytes of a file; what a category's id is below
_FILES = 64  # .json files of a folder that are looked into


def annotations_in(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The one file of boxes of a folder: in it, or in its `annotations/`.

    Raises UsageError when there are several, DataError for one that is no JSON.
    """
    found = []
    for path in [*sorted(folder.glob("*.json")), *sorted(folder.glob("annotations/*.json"))][:_FILES]:
        if not path.name.startswith("."):
            data = read_annotations(path)
            if data is not None:
                found.append((path, data))
    if len(found) > 1:
        names = [str(path.relative_to(folder)) for path, _ in found]
        raise UsageError(
            f"{folder} has {len(found)} files of annotations: {', '.join(names[:6])}", "each may be meant",
            f"pass one of them instead of the folder: {folder / names[0]}",
        )  # fmt: skip
    return found[0] if found else None


def read_annotations(path: Path) -> dict[str, Any] | None:
    """None for JSON that holds no boxes: captions, panoptic or other documents. Raises DataError for no JSON."""
    try:
        data = read_json(path, _LARGEST)
    except DocumentError as error:
        raise DataError(f"{path.name} is not JSON: {error}", "", "mend or remove it") from error
    if not isinstance(data, dict) or "images" not in data or "annotations" not in data:
        return None
    rows = data["annotations"]
    boxes = (
        not isinstance(rows, list) or not rows or any(isinstance(r, dict) and "bbox" in r for r in rows)
    )
    return data if boxes else None


def read_coco(folder: Path, file: Path, data: dict[str, Any]) -> Dataset:
    """The images that `file` lists, wherever in `folder` they lie together, with their boxes.

    Raises DataError for what does not fit: a missing image, one of another size than is stated, a box
    that lies outside.
    """
    try:
        entries = sorted(data["images"], key=lambda e: e["id"])
        names = [_below(e["file_name"]) for e in entries]
        paths = _found(folder, file, names)
        position = {e["id"]: i for i, e in enumerate(entries)}
        boxes: list[list[Box]] = [[] for _ in entries]
        for a in data["annotations"]:
            if a["image_id"] not in position:
                raise DataError(
                    f"{file.name} has a box for image {a['image_id']}, which it does not list", "",
                    "mend the annotations file",
                )  # fmt: skip
            x, y, w, h = (_real(v) for v in a["bbox"])
            area, crowd = _real(a.get("area", w * h)), bool(a.get("iscrowd", 0))
            box = Box(whole(a["category_id"], _IDS), x, y, w, h, area, crowd)
            boxes[position[a["image_id"]]].append(box)
        categories = {
            whole(c["id"], _IDS): str(c.get("name") or "") for c in data.get("categories", [])
        }
        stated = [(e.get("width"), e.get("height")) for e in entries]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{file.name} is not in COCO's format", f"{type(error).__name__}: {error}",
            "see https://cocodataset.org/#format-data",
        ) from error  # fmt: skip
    if not entries:
        raise DataError(f"{file.name} lists no images", "", "add some")
    _check_sizes(file, folder, paths, stated, boxes)
    return Dataset(folder, paths, boxes, categories)


def _found(folder: Path, file: Path, names: list[str]) -> list[Path]:
    """The names' files: below the first folder that has them all."""
    best: list[Path] = []
    places = list(_places(folder, file))
    for place in places:
        paths = [place / name for name in names]
        missing = [p for p in paths if not p.is_file()]
        if not missing:
            return paths
        if not best or len(missing) < len(best):
            best = missing
    raise DataError(
        f"{file.name} names {len(best)} images that are not in {places[0]}",
        f"the first is {best[0].name}", "put the images there, or remove their entries",
    )  # fmt: skip


def _places(folder: Path, file: Path) -> Iterator[Path]:
    images = folder / "images"
    if images.is_dir():
        yield images
    yield folder
    yield file.parent
    for parent in (images, folder):  # images/val2017, val2017, as COCO itself lies
        if parent.is_dir():
            yield from sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))[
                :_FILES
            ]


def _check_sizes(
    file: Path, folder: Path, paths: list[Path], stated: list[tuple[Any, Any]], boxes: list[list[Box]]
) -> None:
    """Boxes drawn on differently turned or scaled pixels give a metric of nothing."""
    other: list[Path] = []
    outside: list[Path] = []
    seen = ""
    for path, (width, height), its in zip(paths, stated, boxes):
        w, h = image_size(path)
        if width and height and (width, height) != (w, h):
            other.append(path)
            turned = ", turned" if (height, width) == (w, h) else ""
            seen = seen or f"{path.name} is {w} x {h} as shown, and {width} x {height} there{turned}"
        elif any(not (0 <= b.x + b.width / 2 <= w and 0 <= b.y + b.height / 2 <= h) for b in its):
            outside.append(path)
            seen = seen or f"a box of {path.name}, {w} x {h} as shown, has its centre outside"
    if other or outside:
        names = listed(other or outside, folder)
        raise DataError(
            f"{file.name} and its images do not fit: {names}", seen,
            "the boxes were drawn on other pixels: save the images upright (without an EXIF orientation) and "
            "annotate those, or correct width and height",
        )  # fmt: skip


def whole(value: Any, limit: int) -> int:
    """A whole number from 0 to below the limit. Raises ValueError for anything else."""
    number = int(value) if isinstance(value, (int, str)) and len(str(value)) < 20 else -1
    if not 0 <= number < limit or isinstance(value, bool):
        raise ValueError(f"{ascii(value)[:40]} is no number of a class")
    return number


def _real(value: Any) -> float:
    """Raises ValueError for what is no finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{ascii(value)[:40]} is no length")
    return float(value)


def _below(name: Any) -> str:
    """A file's name, inside the folder of images. Raises ValueError for one that leads out of it."""
    if not isinstance(name, str):
        raise ValueError(f"{ascii(name)[:80]} is no name of a file in its folder")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise ValueError(f"{ascii(name)[:80]} is no name of a file in its folder")
    return str(path)
