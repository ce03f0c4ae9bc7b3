"""edgekit detect: files, folders and arrays give the same boxes; pictures never replace sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.runtime import load
from tests.cli.commands import IMAGE, Edgekit
from tests.data import SHAPES


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    sides = [max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1)]
    shared = sides[0] * sides[1]
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_it_finds_what_was_drawn(edgekit: Edgekit, packages: dict[str, Path], precision: str) -> None:
    truth = json.loads((SHAPES / "eval" / "instances.json").read_text(encoding="utf-8"))
    number = next(i["id"] for i in truth["images"] if Path(i["file_name"]).name == IMAGE.name)
    labels = {c["id"]: c["name"] for c in truth["categories"]}
    drawn = [
        (labels[a["category_id"]], (x, y, x + w, y + h))
        for a in truth["annotations"]
        if a["image_id"] == number
        for x, y, w, h in [a["bbox"]]
    ]
    (found,) = edgekit("detect", packages[precision], IMAGE, "--json").json["images"]
    sure = [d for d in found["detections"] if d["score"] > 0.6]
    assert sure
    for d in sure:
        assert any(d["label"] == name and overlap(d["box"], box) > 0.7 for name, box in drawn)


def test_people_see_label_score_and_box(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("detect", packages["fp32"], IMAGE)
    (best, *_) = load(packages["fp32"])(IMAGE)
    heading, header, first, *_ = ran.out.splitlines()
    assert heading == str(IMAGE)
    assert header.split() == ["label", "score", "x1", "y1", "x2", "y2"]
    assert first.startswith(best.label) and f"{best.score:.3f}" in first and f"{best.box[0]:.1f}" in first


def test_a_file_a_folder_and_an_array_give_the_same(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copy(IMAGE, tmp_path / "b.jpg")
    Image.open(IMAGE).save(tmp_path / "a.PNG")
    (tmp_path / "notes.txt").write_text("not an image", encoding="utf-8")
    one = edgekit("detect", packages["fp32"], IMAGE, "--json").json["images"][0]["detections"]
    folder = edgekit("detect", packages["fp32"], tmp_path, "--json").json["images"]
    assert [Path(i["image"]).name for i in folder] == ["a.PNG", "b.jpg"]
    assert folder[1]["detections"] == one
    from edgekit.runtime.image import read_image

    detector = load(packages["fp32"])
    array = read_image(IMAGE)
    for found in (detector(array), detector(IMAGE), detector([array, str(IMAGE)])[1]):
        assert json.loads(json.dumps([d._asdict() for d in found])) == one


def test_thresholds(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    def found(*options: object) -> list[dict[str, float]]:
        ran = edgekit("detect", packages["fp32"], IMAGE, *options, "--json")
        detections: list[dict[str, float]] = ran.json["images"][0]["detections"]
        return detections

    every = found("--score", 0.01)
    assert len(every) > len(found())
    assert [d["score"] for d in every] == sorted((d["score"] for d in every), reverse=True)
    assert found("--score", 0.01, "--max", 2) == every[:2]
    assert found("--score", 1) == []
    assert len(found("--score", 0.01, "--iou", 0.1)) < len(every)
    assert len(found("--score", 0.01, "--class-agnostic")) <= len(every)
    assert "nothing found" in edgekit("detect", packages["fp32"], IMAGE, "--score", 1).out


def test_save_draws_pictures(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    ran = edgekit("detect", packages["fp32"], IMAGE, "--save", tmp_path / "drawn")
    picture = tmp_path / "drawn" / f"{IMAGE.stem}-boxes.jpg"
    assert ran.code == 0
    assert str(picture) in ran.out
    before, after = np.asarray(Image.open(IMAGE)), np.asarray(Image.open(picture))
    assert before.shape == after.shape
    assert (np.abs(before.astype(int) - after) > 60).any()


def test_save_never_overwrites_a_source(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    source = Path(shutil.copy(IMAGE, tmp_path / "picture.jpg"))
    for _ in range(2):
        ran = edgekit("detect", packages["fp32"], source, "--save", tmp_path, "--json")
        assert Path(ran.json["images"][0]["saved"]) == tmp_path / "picture-boxes.jpg"
    assert source.read_bytes() == IMAGE.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picture-boxes.jpg", "picture.jpg"]


def test_pictures_of_the_same_name_do_not_replace_each_other(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(IMAGE, tmp_path / folder / "same.jpg")
    ran = edgekit("detect", packages["fp32"], tmp_path / "a", tmp_path / "b", "--save", tmp_path / "out", "--json")
    saved = [i["saved"] for i in ran.json["images"]]
    assert len(set(saved)) == 2


def test_a_file_that_is_no_image(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image", encoding="utf-8")
    ran = edgekit("detect", packages["fp32"], tmp_path / "text.jpg")
    assert ran.code == 5
    assert "text.jpg is not an image" in ran.err


def test_one_image_that_cannot_be_read_does_not_lose_the_others(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("a.jpg", "c.jpg"):
        shutil.copy(IMAGE, tmp_path / name)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    (tmp_path / "._a.jpg").write_bytes(b"what a file manager left")
    (tmp_path / "deep").mkdir()
    shutil.copy(IMAGE, tmp_path / "deep" / "d.jpg")
    ran = edgekit("detect", packages["fp32"], tmp_path, "--json")
    assert ran.code == 5 and "b.jpg" in ran.err
    rows = {Path(r["image"]).name: r for r in ran.json["images"]}
    assert sorted(rows) == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert rows["b.jpg"]["error"]["error"] == "DataError" and not rows["b.jpg"]["detections"]
    assert rows["a.jpg"]["detections"] == rows["d.jpg"]["detections"] != []
