"""Pictures and annotations that would take all memory or time, and those that are none."""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import DataError
from edgekit.runtime.image import read_image
from edgekit.runtime.image_size import size_of
from tests.cli.commands import Edgekit
from tests.data import SHAPES


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes((width + 7) // 8)) * height, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_small_picture_of_many_pixels(
    tmp_path: Path, edgekit: Edgekit, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bomb.png").write_bytes(png(16_000, 16_000))
    assert (tmp_path / "bomb.png").stat().st_size < 40_000
    ran = edgekit("detect", packages["fp32"], tmp_path / "bomb.png")
    assert ran.code == 5 and "16000 x 16000" in ran.err
    monkeypatch.setitem(sys.modules, "cv2", None)  # Pillow reads then
    with pytest.raises(DataError, match="16000 x 16000"):
        read_image(tmp_path / "bomb.png")
    assert size_of(png(3, 2)) == (3, 2) and size_of(b"\xff\xd8" + b"\xff\xe0\0\x02" * 9) is None


def test_a_picture_that_tells_two_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader that decodes it believes the second."""
    large, small = png(13_000, 13_000), png(16, 16)[8:33]
    (tmp_path / "two.png").write_bytes(large[:8] + small + large[8:])
    with pytest.raises(DataError):
        read_image(tmp_path / "two.png")
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(DataError, match="13000 x 13000"):
        read_image(tmp_path / "two.png")


@pytest.mark.parametrize(
    "content", [b"", b"x", b"\xff\xd8\xff", b"RIFF0000WEBPVP8X", b"BM", b"II*\0\xff\xff\xff\x7f", png(5, 5)[:40]]
)
def test_pictures_that_are_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.jpg"):
        read_image(tmp_path / "a.jpg")


def _yaml(folder: Path, text: str) -> None:
    (folder / "labels").mkdir()
    (folder / "data.yaml").write_text(text, encoding="utf-8")


ALIASES = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{c}: &{c} [{', '.join([f'*{p}'] * 9)}]\n" for p, c in zip("abcdefghi", "bcdefghij"))
    + "names: *j\n"
)
DATASETS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "aliases": (lambda f: _yaml(f, ALIASES), "anchor"),
    "deep yaml": (lambda f: _yaml(f, "names: " + "[" * 5000), "data.yaml"),
    "null for a class": (lambda f: _yaml(f, "names: {null: a}"), "data.yaml"),
    "a class far away": (lambda f: _yaml(f, "names: {1000000000000000: a}"), "data.yaml"),
    "yaml that is a list": (lambda f: _yaml(f, "- a"), "data.yaml"),
}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "set" / "images").mkdir(parents=True)
    shutil.copy(next((SHAPES / "eval/images").glob("*.jpg")), tmp_path / "set/images/a.jpg")
    return tmp_path / "set"


def evaluated(edgekit: Edgekit, folder: Path, out: Path) -> Any:
    return edgekit("convert", SHAPES / "shapes.safetensors", "--eval", folder, "--launches", 0, "-o", out)


@pytest.mark.parametrize("name", DATASETS)
def test_class_names_without_bounds(name: str, images: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    change, words = DATASETS[name]
    change(images)
    ran = evaluated(edgekit, images, tmp_path / "out")
    assert ran.code == 5 and words in ran.err and "Traceback" not in ran.err, ran.err


@pytest.mark.parametrize(
    "row",
    ["1e15 .5 .5 .1 .1", "-1 .5 .5 .1 .1", "nan .5 .5 .1 .1", "inf .5 .5 .1 .1", "0 nan .5 .1 .1", "1e400 1 1 1 1"],
)
def test_labels_of_classes_that_cannot_be(row: str, images: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    (images / "labels").mkdir()
    (images / "labels/a.txt").write_text(row, encoding="utf-8")
    ran = evaluated(edgekit, images, tmp_path / "out")
    assert ran.code == 5 and "a.txt" in ran.err and "Traceback" not in ran.err, ran.err


@pytest.mark.parametrize(
    "box",
    [
        {"category_id": 10**15},
        {"category_id": "x"},
        {"category_id": None},
        {"category_id": True},
        {"bbox": [1, 2, 3]},
        {"bbox": [None] * 4},
        {"bbox": "abcd"},
        {"image_id": [1]},
        {"bbox": [1, 2, 3, 10**300]},
        {"area": {}},
        {"bbox": ["nan", 1, 2, 3]},
        {"area": "inf"},
    ],
)
def test_annotations_without_bounds(box: dict[str, Any], images: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], **box}
    data = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [entry],
        "categories": [{"id": 1, "name": "square"}],
    }
    (images / "a.json").write_text(json.dumps(data), encoding="utf-8")
    ran = evaluated(edgekit, images, tmp_path / "out")
    assert ran.code == 5 and "a.json" in ran.err and "Traceback" not in ran.err, ran.err


def test_pipes_are_no_files(images: Path, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one would wait for ever."""
    os.mkfifo(images / "x.json")
    ran = evaluated(edgekit, images, tmp_path / "out")
    assert ran.code == 5 and "is no file" in ran.err
    (images / "x.json").unlink()
    (images / "x.json").mkdir()
    assert evaluated(edgekit, images, tmp_path / "out").code == 5
    monkeypatch.chdir(tmp_path)
    os.mkfifo("edgekit.toml")
    ran = edgekit("doctor")
    assert ran.code == 2 and "is no file" in ran.err
