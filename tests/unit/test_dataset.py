"""Folders as people really have them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from edgekit.data.images import check_readable, match_categories, read_dataset
from edgekit.errors import DataError, UsageError
from edgekit.runtime.image import _read_with_pillow, image_size, read_image


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
    "label", [b"0 .5 .5\n", b"0 .5 .5 7 7\n", b"x .5 .5 1 1\n", b"0 nan .5 1 1\n", b"0.5 .5 .5 1 1\n", b"\xff\xfe"]
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


def save(folder: Path, name: str, size: tuple[int, int] = (200, 100), exif: bytes = b"") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(file, **({"exif": exif} if exif else {}))
    return file


def coco(folder: Path, name: str = "boxes.json", **stated: int) -> Path:
    """One image of 200 x 100 with one box; `stated`: what the file says of the image's size."""
    save(folder, "images/a.jpg")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", **stated}],
        "annotations": [box],
        "categories": [{"id": 1, "name": "thing"}],
    }
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(data), encoding="utf-8")
    return folder


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("turn", range(10))
def test_pixels_and_sizes_are_turned_by_one_reader(tmp_path: Path, suffix: str, turn: int) -> None:
    """As Pillow turns them, which is another implementation."""
    tags = Image.Exif()
    tags[0x0112] = turn
    pixels = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    file = tmp_path / f"a.{suffix}"
    exact = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(pixels).save(file, exif=tags, **exact)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    for read in (read_image(file), _read_with_pillow(file, file.read_bytes())):
        assert read.shape == expected.shape
        assert np.abs(read.astype(int) - expected).max() <= 2  # two decoders of JPEG
    assert image_size(file) == expected.shape[1::-1]


@pytest.mark.parametrize(
    "entry",
    [
        b"\x01\x12\0\x02\0\0\0\x026\0\0\0",  # text
        b"\x01\x12\0\x03\0\0\0\x02\0\x06\0\x06",  # two of them
        b"\x01\x12\0\x03\0\0\0\x01\0\x09\0\0",  # a ninth way
    ],
)
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path: Path, entry: bytes) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0"
    file = save(tmp_path, "a.jpg", exif=exif)
    assert read_image(file).shape[1::-1] == image_size(file) == (200, 100)


def test_stated_sizes_are_compared_with_the_images(tmp_path: Path) -> None:
    assert read_dataset(coco(tmp_path / "a", width=200, height=100)).annotated
    assert read_dataset(coco(tmp_path / "b")).annotated  # nothing is stated
    with pytest.raises(DataError) as caught:
        read_dataset(coco(tmp_path / "c", width=100, height=200))
    assert "a.jpg" in caught.value.what and "200 x 100" in caught.value.why


def test_boxes_outside_their_images_are_of_other_images(tmp_path: Path) -> None:
    folder = coco(tmp_path)
    save(folder, "images/a.jpg", (20, 20))
    with pytest.raises(DataError, match="do not fit"):
        read_dataset(folder)


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    for name in ("a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "__MACOSX/b.jpg", ".c.jpg"):
        save(tmp_path, f"images/{name}")
    (tmp_path / "images" / "._a.jpg").write_bytes(b"\0\5\26\7")
    found = read_dataset(tmp_path)
    assert [p.name for p in found.images] == ["a.jpg"]
    assert found.left_out == ("4 hidden image files of images are left out",)


def test_what_is_not_read_is_said(tmp_path: Path) -> None:
    save(tmp_path, "a.tif")
    (tmp_path / "b.heic").write_bytes(b"")
    found = read_dataset(tmp_path)
    assert [p.name for p in found.images] == ["a.tif"]
    assert "1 .heic files" in found.left_out[0]


def test_two_files_of_boxes_are_asked_about(tmp_path: Path) -> None:
    coco(tmp_path, "annotations/train.json")
    coco(tmp_path, "annotations/val.json")
    (tmp_path / "annotations" / "captions.json").write_text(
        '{"images": [], "annotations": [{"caption": "x"}]}', encoding="utf-8"
    )
    with pytest.raises(UsageError) as caught:
        read_dataset(tmp_path)
    assert "train.json" in caught.value.what and "captions" not in caught.value.what
    assert len(read_dataset(tmp_path / "annotations" / "val.json").images) == 1


@pytest.mark.parametrize(
    ("points", "more", "keypoints"),
    [
        ("0.1 0.1 0.9 0.9", "", True),  # in the box, in each of ten lines
        ("0.1 0.1 1 0.9 0.9 2", "", True),  # with a visibility each
        ("0.99 0.99 0.99 0.99", "kpt_shape: [2, 2]", True),
        ("0.2 0.2 0.85 0.85", "task: segment", False),
        ("0.999 0.999 0.999 0.999", "", None),
    ],
)
def test_outlines_and_keypoints_are_told_apart(tmp_path: Path, points: str, more: str, keypoints: bool | None) -> None:
    label = f"0 .5 .5 .8 .8 {points}\n" * 10
    folder = yolo(tmp_path, label.encode(), f"names: [a]\n{more}\n")
    if keypoints is None:
        with pytest.raises(UsageError, match="outlines or keypoints"):
            read_dataset(folder)
        return
    box = read_dataset(folder).boxes[0][0]
    assert (abs(box.width - 160) < 1e-6) is keypoints


def test_outlines_of_one_length_stay_outlines(tmp_path: Path) -> None:
    folder = yolo(tmp_path, b"0 .7 .7 .9 .7 .9 .9 .7 .9\n0 .1 .1 .2 .1 .2 .2 .1 .2\n")
    assert read_dataset(folder).boxes[0][0].width == pytest.approx(40)


def test_files_are_checked_before_minutes_of_work(tmp_path: Path) -> None:
    file = save(tmp_path, "a.jpg", (400, 300))
    save(tmp_path, "b.jpg")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError) as caught:
        check_readable(read_dataset(tmp_path).images, tmp_path)
    assert "1 of 2" in caught.value.what and "a.jpg" in caught.value.what
