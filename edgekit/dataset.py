"""Folders of images with boxes: COCO style, YOLO style, or bare images for calibration.

COCO style: one annotations `.json` beside `images/`. YOLO style: `images/` and `labels/`, names
in an optional `data.yaml`.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.documents import DocumentError, read_json, read_utf8
from edgekit.errors import DataError, guard

_LARGEST, _YAML = 2**29, 2**20  # bytes of an annotations file, of a data.yaml
_CLASSES, _IDS = 100_000, 2**31  # what a class's number, a category's id is below
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


@dataclass(frozen=True)
class Box:
    """x, y, width, height in pixels; `crowd` regions are ignored by the metric."""

    category: int
    x: float
    y: float
    width: float
    height: float
    area: float
    crowd: bool = False


@dataclass
class Dataset:
    """`boxes` has one list for each image; `categories` maps their ids to names ("" if unknown)."""

    folder: Path
    images: list[Path]
    boxes: list[list[Box]] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)

    @property
    def annotated(self) -> bool:
        return any(self.boxes)

    def first(self, count: int | None) -> Dataset:
        if count is None or count >= len(self.images):
            return self
        return Dataset(self.folder, self.images[:count], self.boxes[:count], self.categories)

    def without_boxes(self) -> Dataset:
        return Dataset(self.folder, self.images, [[] for _ in self.images], self.categories)

    def fingerprint(self) -> str:
        """SHA-256 over the images' bytes and boxes, in order: what a receipt cites."""
        digest = hashlib.sha256()
        for path in self.images:
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        digest.update(repr(self.boxes).encode())
        return digest.hexdigest()


def read_dataset(path: str | Path) -> Dataset:
    """Raises DataError when the folder holds no images, or annotations name images it lacks. Names lead into
    the folder only; links in it are followed, since people keep their images elsewhere."""
    with guard(DataError, f"{path} cannot be read", "mend it, or pass another folder"):
        return _read(Path(path))


def _read(folder: Path) -> Dataset:
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}", "",
            "pass a folder with images/ and an annotations .json, or images/ and labels/",
        )  # fmt: skip
    inside = folder / "images" if (folder / "images").is_dir() else folder
    found = sorted(p for p in inside.rglob("*") if p.suffix.lower() in _SUFFIXES and p.is_file())
    if not found:
        raise DataError(
            f"{folder} holds no images", f"looked for {', '.join(sorted(_SUFFIXES))} in {inside}",
            "pass a folder of images like those the detector will see, of any size: edgekit prepares them",
        )  # fmt: skip
    annotations = _coco_file(folder)
    if annotations is not None:
        return _read_coco(folder, inside, *annotations)
    if (folder / "labels").is_dir():
        return _read_yolo(folder, inside, found)
    return Dataset(folder, found, [[] for _ in found])


def _coco_file(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    for path in sorted(folder.glob("*.json")):
        try:
            data = read_json(path, _LARGEST)
        except DocumentError as error:
            raise DataError(f"{path.name} is not JSON: {error}", "", "mend or remove it") from error
        if isinstance(data, dict) and "images" in data and "annotations" in data:
            return path, data
    return None


def _read_coco(folder: Path, inside: Path, file: Path, data: dict[str, Any]) -> Dataset:
    try:
        entries = sorted(data["images"], key=lambda e: e["id"])
        paths = [inside / _below(e["file_name"]) for e in entries]
        missing = [p.name for p in paths if not p.is_file()]
        if missing:
            raise DataError(
                f"{file.name} names {len(missing)} images that are not in {inside}",
                f"the first is {missing[0]}", "put the images there, or remove their entries",
            )  # fmt: skip
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
            box = Box(_number(a["category_id"], _IDS), x, y, w, h, area, crowd)
            boxes[position[a["image_id"]]].append(box)
        categories = {
            _number(c["id"], _IDS): str(c.get("name") or "") for c in data.get("categories", [])
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(
            f"{file.name} is not in COCO's format", f"{type(error).__name__}: {error}",
            "see https://cocodataset.org/#format-data",
        ) from error  # fmt: skip
    if not entries:
        raise DataError(f"{file.name} lists no images", "", "add some")
    return Dataset(folder, paths, boxes, categories)


def _read_yolo(folder: Path, inside: Path, images: list[Path]) -> Dataset:
    boxes: list[list[Box]] = []
    for path in images:
        label = folder / "labels" / path.relative_to(inside).with_suffix(".txt")
        rows = _lines(label) if label.is_file() else []
        width, height = _image_size(path) if any(r.strip() for r in rows) else (0, 0)
        boxes.append([_yolo_box(r, width, height, label) for r in rows if r.strip()])
    names = _yolo_names(folder)
    highest = max((b.category for image in boxes for b in image), default=-1)
    count = max(len(names), highest + 1)
    return Dataset(folder, images, boxes, {i: names.get(i, "") for i in range(count)})


def _lines(file: Path) -> list[str]:
    try:
        return read_utf8(file, _LARGEST).splitlines()
    except DocumentError as error:
        raise DataError(f"{file.name} cannot be read", str(error), "mend or remove it") from error


def _yolo_box(row: str, width: int, height: int, file: Path) -> Box:
    try:
        category, *values = (float(v) for v in row.split())
        if not 0 <= category < _CLASSES or not category.is_integer():
            raise ValueError(f"classes are whole numbers below {_CLASSES}")
        if not all(-0.01 <= v <= 1.01 for v in values):
            raise ValueError("what stands after the class lies in 0..1")
        if len(values) > 5 and len(values) % 2 == 0:  # the outline of a segment
            xs, ys = values[0::2], values[1::2]
            left, top, right, bottom = min(xs), min(ys), max(xs), max(ys)
        else:
            cx, cy, w, h = values[:4]
            left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
        w, h = (right - left) * width, (bottom - top) * height
        return Box(int(category), left * width, top * height, w, h, w * h)
    except ValueError as error:
        raise DataError(
            f"{file.name} is not in YOLO's format", f"the line {row[:60]!r}: {error}",
            "each line is: class centre-x centre-y width height, the last four in 0..1",
        ) from error  # fmt: skip


def _yolo_names(folder: Path) -> dict[int, str]:
    file = folder / "data.yaml"
    if not file.is_file():
        return {}
    with guard(DataError, f"{file} cannot be read", "mend it"):
        names = (_plain_yaml(read_utf8(file, _YAML)) or {}).get("names") or {}
        names = dict(enumerate(names)) if isinstance(names, list) else names
        return {_number(k, _CLASSES): str(v) for k, v in names.items() if v is not None}


def _plain_yaml(text: str) -> Any:
    """YAML without anchors: a few lines of those unfold to more than memory holds."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                raise ValueError("it refers to an anchor: write out what it stands for")
            return super().compose_node(parent, index)

    return yaml.load(text, Loader)


def _number(value: Any, limit: int) -> int:
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
    path = PurePosixPath(str(name).replace("\\", "/"))
    if (
        not isinstance(name, str)
        or path.is_absolute()
        or ".." in path.parts
        or ":" in name
        or "\0" in name
    ):
        raise ValueError(f"{ascii(name)[:80]} is no name of a file in its folder")
    return name


def _image_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    wrong = guard(DataError, f"{path.name} is not an image that can be read", "use JPEG or PNG")
    with wrong, Image.open(path) as image:
        width, height = image.size
        # as the runtime shows it: orientations 5 to 8 lie on their side
        return (height, width) if image.getexif().get(0x0112, 1) >= 5 else (width, height)


def match_categories(dataset: Dataset, labels: tuple[str, ...]) -> dict[int, int]:
    """From the detector's class index to the dataset's category id: by name, else by position.

    Raises DataError when neither can be.
    """
    by_name = {name.strip().lower(): i for i, name in dataset.categories.items() if name}
    matched = {
        i: by_name[n.strip().lower()] for i, n in enumerate(labels) if n.strip().lower() in by_name
    }
    if matched:
        return matched
    ids = sorted(dataset.categories)
    anonymous = not by_name or all(n.startswith("class_") for n in labels)
    if anonymous and len(ids) == len(labels):
        return dict(enumerate(ids))
    if not by_name and ids and max(ids) < len(labels):  # YOLO style without names: class numbers
        return {i: i for i in ids}
    raise DataError(
        "The detector's classes and those of the annotations do not match",
        f"{len(labels)} labels ({', '.join(labels[:3])}, …), {len(ids)} categories "
        f"({', '.join(list(dataset.categories.values())[:3])}, …)",
        "pass the detector's class names with --labels",
    )
