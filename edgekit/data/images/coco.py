"""Annotations in COCO's format (https://cocodataset.org/#format-data)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from edgekit.data.images.records import Box, Dataset
from edgekit.data.images.stated import check_categories, check_fit, check_once
from edgekit.errors import DataError, UsageError
from edgekit.system.documents import DocumentError, JsonObject, read_json

_LARGEST, _IDS = 2**29, 2**31  # bytes of a file; what a category's id is below
_FILES = 64  # .json files of a folder that are looked into


def annotations_in(folder: Path) -> tuple[Path, JsonObject] | None:
    """The one file of boxes of a folder: in it, or in its `annotations/`.

    Raises UsageError when there are several, DataError for one that is no JSON.
    """
    files = []
    paths = [*sorted(folder.glob("*.json")), *sorted(folder.glob("annotations/*.json"))][:_FILES]
    for path in paths:
        # COCO's own keypoints repeat the people among the instances
        boxes = path.with_name(path.name.replace("person_keypoints", "instances", 1))
        if not path.name.startswith(".") and (boxes == path or boxes not in paths):
            data = read_annotations(path)
            if data is not None:
                files.append((path, data))
    if len(files) > 1:
        names = [str(path.relative_to(folder)) for path, _ in files]
        raise UsageError(
            f"{folder} has {len(files)} files of annotations: {', '.join(names[:6])}",
            "each may be meant",
            f"pass one of them instead of the folder: {folder / names[0]}",
        )
    return files[0] if files else None


def read_annotations(path: Path) -> JsonObject | None:
    """None for JSON that holds no boxes: captions, panoptic or other documents. Raises DataError for no JSON."""
    try:
        data = read_json(path, _LARGEST)
    except DocumentError as error:
        raise DataError(f"{path.name} is not JSON: {error}", "", "mend or remove it") from error
    if not isinstance(data, dict) or "images" not in data or "annotations" not in data:
        return None
    rows = data["annotations"]
    if not isinstance(rows, list) or not rows or any(isinstance(r, dict) and "bbox" in r for r in rows):
        return data
    if any(isinstance(r, dict) and "segmentation" in r for r in rows):
        raise DataError(
            f"{path.name} has outlines and no boxes",
            f"its {len(rows)} annotations have a segmentation, and no bbox",
            "add to each its bbox, [x, y, width, height] in pixels",
        )
    return None


def read_coco(folder: Path, file: Path, data: JsonObject) -> Dataset:
    """The images that `file` lists, wherever in `folder` they lie together, with their boxes.

    Raises DataError for what does not fit: a missing image, one of another size than is stated, a box
    that lies outside.
    """
    try:
        entries = sorted(data["images"], key=lambda e: e["id"])
        names = [_below(e["file_name"], file) for e in entries]
        check_once(file, "id of an image", (e["id"] for e in entries))
        check_once(file, "image", names)
        paths = _image_paths(folder, file, names)
        position = {e["id"]: i for i, e in enumerate(entries)}
        boxes: list[list[Box]] = [[] for _ in entries]
        for a in data["annotations"]:
            if a["image_id"] not in position:
                raise DataError(
                    f"{file.name} has a box for image {a['image_id']}, which it does not list",
                    "",
                    "mend the annotations file",
                )
            x, y, w, h = _sides(a)
            area, crowd = _real(a.get("area", w * h)), bool(a.get("iscrowd", 0))
            box = Box(whole(a["category_id"], _IDS), x, y, w, h, area, crowd)
            boxes[position[a["image_id"]]].append(box)
        listing = data.get("categories", [])
        check_once(file, "id of a category", (c["id"] for c in listing))
        categories = {whole(c["id"], _IDS): str(c.get("name") or "") for c in listing}
        stated = [(e.get("width"), e.get("height")) for e in entries]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{file.name} is not in COCO's format",
            f"{type(error).__name__}: {error}",
            "see https://cocodataset.org/#format-data",
        ) from error
    if not entries:
        raise DataError(f"{file.name} lists no images", "", "add some")
    categories = check_categories(file, categories, boxes)
    check_fit(file, folder, paths, stated, boxes)
    return Dataset(folder, paths, boxes, categories)


def _image_paths(folder: Path, file: Path, names: list[str]) -> list[Path]:
    """The files of these names, below the first folder that has all of them."""
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
        f"the first is {best[0].name}",
        "put the images there, or remove their entries",
    )


def _places(folder: Path, file: Path) -> Iterator[Path]:
    images = folder / "images"
    if images.is_dir():
        yield images
    yield folder
    yield file.parent
    for parent in (images, folder):  # images/val2017, val2017, as COCO itself lies
        if parent.is_dir():
            yield from sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith("."))[:_FILES]


def whole(value: object, limit: int) -> int:
    """A whole number from 0 to below the limit. Raises ValueError for anything else."""
    number = int(value) if isinstance(value, (int, str)) and len(str(value)) < 20 else -1
    if not 0 <= number < limit or isinstance(value, bool):
        raise ValueError(f"{ascii(value)[:40]} is no number of a class")
    return number


def _real(value: object) -> float:
    """Raises ValueError for what is no finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{ascii(value)[:40]} is no length")
    return float(value)


def _sides(annotation: JsonObject) -> list[float]:
    """x, y, width and height. Raises ValueError for what is no box."""
    stated = annotation.get("bbox")
    if not isinstance(stated, list) or len(stated) != 4:
        raise ValueError(f"the bbox of annotation {ascii(annotation.get('id'))[:20]} is {ascii(stated)[:40]}")
    sides = [_real(v) for v in stated]
    if min(sides[2:]) < 0:
        raise ValueError(f"the box {sides} has a width or height below 0")
    return sides


def _below(name: object, file: Path) -> str:
    """A file's name, inside the folder of images. Raises ValueError for what is none, DataError for one that leads
    out of it."""
    if not isinstance(name, str):
        raise ValueError(f"{ascii(name)[:80]} is no name of a file in its folder")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name:
        raise DataError(
            f"{file.name} names images elsewhere",
            f"{ascii(name)[:80]} is no name of a file in its folder",
            "write each file_name relative to the folder of images",
        )
    return str(path)
