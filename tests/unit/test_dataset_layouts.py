"""One set of pictures as different tools lay it out: the same truth from each, or a question."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from edgekit.data.images import Dataset, match_categories, read_dataset
from edgekit.errors import DataError, UsageError

NAMES = ["cat", "dog", "fox"]
PIXELS = {"a": [(1, 20, 10, 60, 40), (0, 100, 50, 40, 20)], "b.c d 100%": [(2, 0, 0, 200, 100), (1, 90, 5, 30, 90)]}


def write(folder: Path, images: str = "images", labels: str = "labels") -> Path:
    """Two pictures of 200 x 100 with four boxes, as lines of YOLO."""
    for name, boxes in PIXELS.items():
        for place in (images, labels):
            (folder / place).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(folder / images / f"{name}.jpg")
        lines = [f"{c} {(x + w / 2) / 200} {(y + h / 2) / 100} {w / 200} {h / 100}" for c, x, y, w, h in boxes]
        (folder / labels / f"{name}.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder


def named(folder: Path, more: str = "", file: str = "data.yaml") -> Path:
    (folder / file).write_text(f"{more}names: {json.dumps(NAMES)}\n", encoding="utf-8")
    return folder


def truth(dataset: Dataset, labels: tuple[str, ...] = ("dog", "fox", "cat")) -> dict[str, list[tuple[str, ...]]]:
    """By name, through a detector whose classes are in another order."""
    to = {category: labels[i] for i, category in match_categories(dataset, labels).items()}
    return {
        p.stem: [(to[b.category], *(str(round(v)) for v in (b.x, b.y, b.width, b.height))) for b in boxes]
        for p, boxes in zip(dataset.images, dataset.boxes)
    }


TRUE = {n: [(NAMES[c], *map(str, box)) for c, *box in boxes] for n, boxes in PIXELS.items()}


def beside(root: Path) -> Path:
    return write(root, ".", ".")


def listed(name: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        (root / name).write_text("\r\n".join([*NAMES, ""]), encoding="utf-8")
        return root

    return make


LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "plain": lambda r: named(write(r)),
    "a split of Roboflow's": lambda r: named(write(r, "valid/images", "valid/labels")) / "valid",
    "its images": lambda r: named(write(r, "valid/images", "valid/labels")) / "valid" / "images",
    "all of it, with one split": lambda r: named(write(r, "valid/images", "valid/labels")),
    "its data.yaml": lambda r: named(write(r, "valid/images", "valid/labels"), "val: ../valid/images\n") / "data.yaml",
    "a split of Ultralytics'": lambda r: named(write(r, "images/val2017", "labels/val2017")) / "images" / "val2017",
    "its own yaml": lambda r: (
        named(
            write(r, "images/val2017", "labels/val2017"), "path: ../datasets/pets\nval: images/val2017\n", "pets.yaml"
        )
        / "pets.yaml"
    ),
    "Label Studio's": lambda r: listed("classes.txt")(write(r)),
    "labelImg's": lambda r: listed("classes.txt")(beside(r)),
    "Darknet's": lambda r: listed("obj.names")(write(r, "obj_train_data", "obj_train_data")),
    "names beside another tool's settings": lambda r: named(named(write(r), file="pets.yaml"), file="pets.yaml"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_truth_is_the_same(layout: str, tmp_path: Path) -> None:
    path = LAYOUTS[layout](tmp_path)
    if "another tool" in layout:
        (path / "docker.yaml").write_text("services: {}\n", encoding="utf-8")
    assert truth(read_dataset(path)) == TRUE


@pytest.mark.parametrize("splits", [("images/train", "images/val"), ("train/images", "valid/images")])
def test_several_splits_are_asked_about(splits: tuple[str, str], tmp_path: Path) -> None:
    for images in splits:
        write(tmp_path, images, images.replace("images", "labels"))
    named(tmp_path)
    with pytest.raises(UsageError, match=r"has 2 splits: .*train.*val") as caught:
        read_dataset(tmp_path)
    assert "val" in Path(caught.value.next.rpartition(": ")[2]).name
    assert truth(read_dataset(caught.value.next.rpartition(": ")[2])) == TRUE


def test_splits_without_labels_are_no_images_of_nothing(tmp_path: Path) -> None:
    named(write(tmp_path, "images/val", "labels/val"))
    shutil.copytree(tmp_path / "images/val", tmp_path / "images/train")
    assert truth(read_dataset(tmp_path)) == TRUE


def test_folders_that_are_no_splits_are_one_set(tmp_path: Path) -> None:
    for place in ("front door", "garden"):
        write(tmp_path, f"images/{place}", f"labels/{place}")
    assert len(read_dataset(named(tmp_path)).images) == 4


def test_captions_beside_images_are_no_labels(tmp_path: Path) -> None:
    beside(tmp_path)
    for text in tmp_path.glob("*.txt"):
        text.write_text("a fox of 3 years", encoding="utf-8")
    assert not read_dataset(tmp_path).annotated


@pytest.mark.parametrize(
    ("stated", "error", "words"),
    [
        ("val: ../elsewhere/images\n", DataError, "no such folder"),
        ("val: ../../images\n", DataError, "no such folder"),
        ("val: [images, more]\n", UsageError, "names no folder of images"),
        ("val: val.txt\n", UsageError, "names no folder of images"),
        ("train: images\n", UsageError, "names no folder of images"),
        ("val: images\nnc: 2\n", DataError, "there are 2 classes, and names 3"),
    ],
)
def test_a_yaml_that_leads_nowhere(stated: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "set")
    (tmp_path / "images").mkdir()
    with pytest.raises(error, match=words):
        read_dataset(named(folder, stated) / "data.yaml")


def test_folders_may_be_links(tmp_path: Path) -> None:
    """People keep their images elsewhere."""
    named(write(tmp_path / "disk"))
    (tmp_path / "set").mkdir()
    for place in ("images", "labels"):
        (tmp_path / "set" / place).symlink_to(tmp_path / "disk" / place, target_is_directory=True)
    named(tmp_path / "set", "val: images\n")
    assert truth(read_dataset(tmp_path / "set")) == TRUE
    assert truth(read_dataset(tmp_path / "set" / "data.yaml")) == TRUE


def test_two_lists_of_names_are_asked_about(tmp_path: Path) -> None:
    named(named(write(tmp_path), file="a.yaml"), file="b.yaml")
    with pytest.raises(UsageError, match=r"2 files of names: a\.yaml, b\.yaml"):
        read_dataset(tmp_path)


def test_a_class_without_a_name_is_of_another_list(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "data.yaml").write_text("names: {1: cat, 2: dog, 3: fox}", encoding="utf-8")
    with pytest.raises(DataError, match=r"without a name: class 0 \(a.txt\)") as caught:
        read_dataset(folder)
    assert "1 to 3; the first is 0" in caught.value.why


def test_a_name_twice_is_that_of_the_class_with_boxes(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "data.yaml").write_text("names: [cat, dog, fox, Fox]", encoding="utf-8")
    assert truth(read_dataset(folder)) == TRUE
    (folder / "data.yaml").write_text("names: [cat, dog, cat]", encoding="utf-8")
    with pytest.raises(DataError, match="several categories that are called 'cat'"):
        read_dataset(folder)


def test_what_has_no_partner_is_said(tmp_path: Path) -> None:
    folder = named(write(tmp_path))
    Image.new("RGB", (200, 100)).save(folder / "images/more.jpg")
    (folder / "labels/lost.txt").write_text("0 .5 .5 .1 .1", encoding="utf-8")
    first, second = read_dataset(folder).left_out
    assert "1 of 3 images" in first and "labels/lost.txt" in second


def test_two_images_of_one_file_of_labels_are_refused(tmp_path: Path) -> None:
    folder = named(write(tmp_path))
    Image.new("RGB", (200, 100)).save(folder / "images/a.png")
    with pytest.raises(DataError, match=r"share files of labels: images/a\.jpg, images/a\.png"):
        read_dataset(folder)
