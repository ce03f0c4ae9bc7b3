"""Folders as people really have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.dataset import match_categories, read_dataset
from edgekit.errors import DataError
from edgekit.runtime.image import _read_with_pillow, read_image


def yolo(tmp_path: Path, label: bytes, names: str | None = None, exif: int = 1) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    image = Image.new("RGB", (200, 100))
    tags = Image.Exif()
    tags[0x0112] = exif
    image.save(tmp_path / "images" / "a.jpg", exif=tags)
    (tmp_path / "labels" / "a.txt").write_bytes(label)
    if names is not None:
        (tmp_path / "data.yaml").write_text(names, encoding="utf-8")
    return tmp_path


def test_a_segment_becomes_the_box_around_it(tmp_path: Path) -> None:
    (box,) = read_dataset(yolo(tmp_path, b"2 .1 .1 .9 .1 .9 .8 .1 .8\n")).boxes[0]
    assert (box.category, box.x, box.y, box.width, box.height) == pytest.approx((2, 20, 10, 160, 70))


def test_boxes_of_photographs_on_their_side_fit_what_the_runtime_sees(tmp_path: Path) -> None:
    dataset = read_dataset(yolo(tmp_path, b"0 .5 .5 1 1\n", exif=6))
    (box,) = dataset.boxes[0]
    height, width = read_image(dataset.images[0]).shape[:2]
    assert (box.width, box.height) == (width, height) == (100, 200)


@pytest.mark.parametrize("label", ["\ufeff0 .5 .5 1 1\r\n".encode(), b"0.0 0.5 0.5 1.0 1.0\n\n"])
def test_byte_order_marks_and_line_ends_do_not_matter(tmp_path: Path, label: bytes) -> None:
    assert len(read_dataset(yolo(tmp_path, label)).boxes[0]) == 1


@pytest.mark.parametrize(
    "label",
    [
        b"0 .5 .5\n",
        b"0 .5 .5 7 7\n",
        b"x .5 .5 1 1\n",
        b"0 nan .5 1 1\n",
        b"0.5 .5 .5 1 1\n",
        b"\xff\xfe",
    ],
)
def test_labels_that_are_none(tmp_path: Path, label: bytes) -> None:
    with pytest.raises(DataError):
        read_dataset(yolo(tmp_path, label))


@pytest.mark.parametrize("names", ["names:\n", "names: [0, 1, 2]", "names: [yes, no]", "names: {0: a}"])
def test_names_of_any_kind(tmp_path: Path, names: str) -> None:
    dataset = read_dataset(yolo(tmp_path, b"0 .5 .5 1 1\n", names))
    assert all(isinstance(n, str) for n in dataset.categories.values())


@pytest.mark.parametrize("names", ["names: person", "names: {a: 1}", "[", "names: 3"])
def test_names_that_are_none(tmp_path: Path, names: str) -> None:
    with pytest.raises(DataError):
        read_dataset(yolo(tmp_path, b"0 .5 .5 1 1\n", names))


def test_class_numbers_without_names_are_the_detectors(tmp_path: Path) -> None:
    dataset = read_dataset(yolo(tmp_path, b"2 .5 .5 1 1\n"))
    assert match_categories(dataset, tuple("abcdefgh"))[2] == 2


@pytest.mark.parametrize("mode", ["L", "I;16", "RGBA", "P", "LA", "1"])
def test_both_readers_see_the_same_picture(tmp_path: Path, mode: str) -> None:
    values = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(values).convert(mode)
    image.save(tmp_path / "a.png")
    file = tmp_path / "a.png"
    a, b = read_image(file), _read_with_pillow(file, file.read_bytes())
    assert np.abs(a.astype(int) - b).max() <= 1
