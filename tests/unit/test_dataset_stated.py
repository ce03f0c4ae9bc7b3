"""Annotations that are read without an error, and would mean something else than they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edgekit.data.images import match_categories, read_dataset
from edgekit.errors import DataError

BOXES = [(10, 20, 30, 40), (60, 5, 20, 20), (5, 50, 40, 30), (100, 10, 90, 60)]
Change = Callable[[dict[str, Any]], object]


def coco(folder: Path, change: Change = lambda _: None) -> Path:
    """Two images of 200 x 100; each box is of a category of its own, which are 10, 20, 30 and 40."""
    (folder / "images").mkdir(parents=True)
    for name in "ab":
        Image.new("RGB", (200, 100)).save(folder / "images" / f"{name}.jpg")
    data = {
        "images": [{"id": i, "file_name": f"{n}.jpg", "width": 200, "height": 100} for i, n in enumerate("ab")],
        "annotations": [
            {"id": i, "image_id": i % 2, "category_id": 10 * (i + 1), "bbox": list(b), "area": b[2] * b[3]}
            for i, b in enumerate(BOXES)
        ],
        "categories": [{"id": 10 * (i + 1), "name": f"kind {i}"} for i in range(4)],
    }
    change(data)
    (folder / "instances.json").write_text(json.dumps(data), encoding="utf-8")
    return folder


def each(key: str, change: Callable[[dict[str, Any]], Any], of: str = "annotations") -> Change:
    return lambda data: [entry.update({key: change(entry)}) for entry in data[of]]


def corners(a: dict[str, Any]) -> list[float]:
    x, y, w, h = a["bbox"]
    return [x, y, x + w, y + h]


def few_corners(data: dict[str, Any]) -> None:
    """Of boxes that lie in the image all the same, when they are read as a size; only their areas tell."""
    del data["annotations"][3]
    each("bbox", corners)(data)


def first(**given: Any) -> Change:
    return lambda data: data["annotations"][0].update(given)


WRONG: dict[str, tuple[Change, str]] = {
    "corners": (each("bbox", corners), "look like two corners"),
    "corners of the upper left": (few_corners, "look like two corners"),
    "parts": (each("bbox", lambda a: [v / 200 for v in a["bbox"]]), "look like parts of the image"),
    "outlines alone": (
        lambda d: [a.update(segmentation=[[0, 0, 9, 9]]) or a.pop("bbox") for a in d["annotations"]],
        "has outlines and no boxes",
    ),
    "one without": (lambda d: d["annotations"][0].pop("bbox"), "bbox of annotation 0 is None"),
    "of three numbers": (first(bbox=[1, 2, 3]), r"bbox of annotation 0 is \[1, 2, 3\]"),
    "turned over": (first(bbox=[50, 50, -10, -10]), "width or height below 0"),
    "no such category": (first(category_id=11), "categories that it does not list: 11"),
    "no categories": (lambda d: d.pop("categories"), "categories that it does not list: 10, 20"),
    "a category twice": (
        lambda d: d["categories"].append({"id": 10, "name": "fox"}),
        "same id of a category twice: 10",
    ),
    "two of a name": (lambda d: d["categories"][1].update(name=" KIND 0"), "several categories that are called"),
    "an image's id twice": (lambda d: d["images"][1].update(id=0), "same id of an image twice: 0"),
    "an image twice": (lambda d: d["images"][1].update(file_name="a.jpg"), "same image twice: 'a.jpg'"),
    "images elsewhere": (each("file_name", lambda e: f"/data/{e['file_name']}", "images"), "names images elsewhere"),
    "images above": (each("file_name", lambda e: f"../{e['file_name']}", "images"), "names images elsewhere"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_it_is_is_said(name: str, tmp_path: Path) -> None:
    change, words = WRONG[name]
    with pytest.raises(DataError, match=words) as caught:
        read_dataset(coco(tmp_path, change))
    assert caught.value.next


RIGHT: dict[str, Change] = {
    "a group beside its one category": lambda d: d["categories"].insert(0, {"id": 0, "name": "kind 2"}),
    "the same, after it": lambda d: d["categories"].append({"id": 99, "name": "Kind 2"}),
    "sizes as text": lambda d: [e.update(width="200", height="100.0") for e in d["images"]],
    "sizes that are not known": lambda d: [e.update(width=-1, height=0) for e in d["images"]],
    "areas of outlines": each("area", lambda a: a["area"] * 0.6),
    "no areas": lambda d: [a.pop("area") for a in d["annotations"]],
    "a name with its folder": each("file_name", lambda e: f"./images/{e['file_name']}", "images"),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_tools_write_is_read(name: str, tmp_path: Path) -> None:
    found = read_dataset(coco(tmp_path, RIGHT[name]))
    assert match_categories(found, tuple(f"kind {i}" for i in range(4))) == {i: 10 * (i + 1) for i in range(4)}
    boxes = sorted((b.x, b.y, b.width, b.height) for image in found.boxes for b in image)
    assert boxes == sorted(BOXES)


def test_keypoints_of_people_are_not_a_second_set(tmp_path: Path) -> None:
    """As COCO itself lies."""
    folder = coco(tmp_path)
    (folder / "annotations").mkdir()
    data = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    (folder / "instances.json").rename(folder / "annotations/instances_val2017.json")
    data["annotations"] = data["annotations"][:1]
    (folder / "annotations/person_keypoints_val2017.json").write_text(json.dumps(data), encoding="utf-8")
    assert sum(map(len, read_dataset(folder).boxes)) == 4
    assert sum(map(len, read_dataset(folder / "annotations/person_keypoints_val2017.json").boxes)) == 1


def yolo(folder: Path, rows: list[tuple[float, ...]]) -> Path:
    for place in ("images", "labels"):
        (folder / place).mkdir(parents=True)
    Image.new("RGB", (200, 100)).save(folder / "images/a.jpg")
    lines = [" ".join(map(str, (0, *row))) for row in rows]
    (folder / "labels/a.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


PARTS = [(x / 200, y / 100, w / 200, h / 100) for x, y, w, h in BOXES]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([(x, y, x + w, y + h) for x, y, w, h in PARTS], "two corners"),
        (
            [(0.01, 0.01, 0.3, 0.3), (0.05, 0, 0.2, 0.4), (0, 0.02, 0.3, 0.3), (0.5, 0.5, 0.1, 0.1)],
            "a corner and a size",
        ),
        ([(0.9, x + w / 2, y + h / 2, w, h) for x, y, w, h in PARTS], "something else"),
    ],
)
def test_lines_of_another_order_reach_beyond_the_image(
    rows: list[tuple[float, ...]], words: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="do not fit their images") as caught:
        read_dataset(yolo(tmp_path, rows))
    assert words in caught.value.why


def test_a_few_boxes_may_reach_beyond_the_edge(tmp_path: Path) -> None:
    """Of what is only partly to be seen."""
    rows = [(x + w / 2, y + h / 2, w, h) for x, y, w, h in PARTS] * 3
    found = read_dataset(yolo(tmp_path, [*rows, (0.02, 0.5, 0.2, 0.2), (0.95, 0.9, 0.2, 0.1)]))
    assert len(found.boxes[0]) == 14
