"""edgekit convert: what is asked for is what the package says."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.runtime import load
from tests.cli.commands import IMAGE, SOURCE, Edgekit, manifest, measured, receipt
from tests.data import SHAPES

NAMES = [f"thing {i}" for i in range(8)]


def test_fp32_needs_no_data_and_says_what_was_not_checked(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", SOURCE, "-o", tmp_path)
    assert ran.code == 0, ran.err
    package = tmp_path / "shapes-cpu-fp32"
    assert package.name in ran.out and f"in {tmp_path}" in ran.out
    assert receipt(package)["verdict"] == "good, as far as checked"
    assert receipt(package)["not_checked"][0].startswith("accuracy: no --eval")
    assert edgekit("verify", package).code == 0


def test_a_package_holds_what_the_manifest_lists(packages: dict[str, Path]) -> None:
    for package in packages.values():
        files = {p.name for p in package.iterdir()}
        assert files == {"manifest.json", "receipt.json", "model.onnx", "labels.txt"}
        assert set(manifest(package)["files"]) == {"model.onnx", "labels.txt"}


def test_several_precisions_in_one_run(packages: dict[str, Path]) -> None:
    float_, quantised = packages["fp32"], packages["w8a8"]
    assert manifest(quantised)["precision"] == "w8a8"
    assert (quantised / "model.onnx").stat().st_size < (float_ / "model.onnx").stat().st_size / 2
    for package in packages.values():
        accuracy = measured(receipt(package), "accuracy")
        assert accuracy["mAP50-95"]["value"] > 0.7
        assert accuracy["mAP50-95"]["samples"] == 48
        assert accuracy["mAP50-95 drop"]["value"] <= 0.005
    assert measured(receipt(float_), "accuracy")["mAP50-95 drop"]["value"] == 0


def test_every_number_says_how_it_was_come_by(packages: dict[str, Path]) -> None:
    for measurement in receipt(packages["w8a8"])["measurements"]:
        assert measurement["provenance"] == "measured"
        assert measurement["command"].startswith("edgekit ")
        assert measurement["samples"] >= 1


@pytest.mark.parametrize(("size", "shape"), [("256", [256, 256]), ("192x256", [192, 256])])
def test_image_size(edgekit: Edgekit, tmp_path: Path, size: str, shape: list[int]) -> None:
    ran = edgekit("convert", SOURCE, "--image-size", size, "-o", tmp_path)
    assert ran.code == 0, ran.err
    model = manifest(tmp_path / "shapes-cpu-fp32")["model"]
    assert [model["image"]["height"], model["image"]["width"]] == shape
    assert model["input"]["shape"] == [1, 3, *shape]
    assert load(tmp_path / "shapes-cpu-fp32")(IMAGE)


@pytest.mark.parametrize("size", ["0", "640x", "big", "250"])
def test_image_sizes_that_cannot_be(edgekit: Edgekit, tmp_path: Path, size: str) -> None:
    ran = edgekit("convert", SOURCE, "--image-size", size, "-o", tmp_path / "out")
    assert ran.code == 2
    assert size in ran.err and "next:" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("as_file", [True, False])
def test_labels(edgekit: Edgekit, tmp_path: Path, as_file: bool) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    given = tmp_path / "names.txt" if as_file else ",".join(NAMES)
    assert edgekit("convert", SOURCE, "--labels", given, "-o", tmp_path).code == 0
    package = tmp_path / "shapes-cpu-fp32"
    assert manifest(package)["model"]["labels"] == NAMES
    assert (package / "labels.txt").read_text(encoding="utf-8").splitlines() == NAMES
    assert load(package)(IMAGE)[0].label in NAMES


@pytest.mark.parametrize("labels", ["a,b", "coco", "nowhere.txt"])
def test_labels_that_do_not_fit(edgekit: Edgekit, tmp_path: Path, labels: str) -> None:
    ran = edgekit("convert", SOURCE, "--labels", labels, "-o", tmp_path / "out")
    assert ran.code == 2
    assert "label" in ran.err
    assert not (tmp_path / "out").exists()


def test_name(edgekit: Edgekit, tmp_path: Path) -> None:
    assert edgekit("convert", SOURCE, "--name", "toy", "-o", tmp_path).code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["toy-cpu-fp32"]
    assert manifest(tmp_path / "toy-cpu-fp32")["name"] == "toy-cpu-fp32"


@pytest.mark.parametrize("name", ["../toy", "a/b", "c:toy", ".toy"])
def test_names_that_leave_the_folder(edgekit: Edgekit, tmp_path: Path, name: str) -> None:
    assert edgekit("convert", SOURCE, "--name", name, "-o", tmp_path / "out").code == 2
    assert list(tmp_path.iterdir()) == []


def test_targets_of_the_user_by_name_and_by_path(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "targets").mkdir(parents=True)
    text = 'about = "mine"\nbackend = "null"\nprecisions = ["fp32"]\n'
    (tmp_path / "config" / "targets" / "mine.toml").write_text(text, encoding="utf-8")
    (tmp_path / "other.toml").write_text(text, encoding="utf-8")
    assert {t["name"] for t in edgekit("targets", "--json").json["targets"]} >= {"cpu", "mine"}
    ran = edgekit(
        "convert", SOURCE, "-t", "cpu", "-t", "mine", "-t", tmp_path / "other.toml", "-o", tmp_path / "out", "--json"
    )
    assert ran.code == 0, ran.err
    assert [p["target"] for p in ran.json["packages"]] == ["cpu", "mine", "other"]
    assert all(load(p["path"])(IMAGE) for p in ran.json["packages"])


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-p", "w4"], 2, "it takes fp32, w8a8"),
        (["-p", "int8"], 2, "int8"),
        (["-t", "toaster"], 2, "edgekit targets lists all"),
        (["-t", "nowhere.toml"], 2, "nowhere.toml"),
        (["-p", "w8a8"], 2, "--calibration"),
        (["--allow", "luck"], 2, "reasons: accuracy, slower"),
        (["--launches", "-1"], 2, "--launches"),
        (["--calibration-images", "0"], 2, "--calibration-images"),
        (["--eval-images", "0"], 2, "--eval-images"),
        (["--float-layers", "-1"], 2, "--float-layers"),
        (["--std", "0"], 2, "--std"),
        (["--mean", "1,2"], 2, "--mean"),
        (["--eval", "nowhere"], 2, "nowhere"),
        (["--eval", SHAPES / "calibration" / "images"], 5, "no boxes"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_wrong_requests_write_nothing(
    edgekit: Edgekit, tmp_path: Path, arguments: list[object], code: int, said: str
) -> None:
    ran = edgekit("convert", SOURCE, *arguments, "-o", tmp_path / "out")
    assert ran.code == code
    assert said in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('about = "x"\nbackend = "onnxruntime"\nprecisions = ["w4"]', 2, "none of the precisions"),
        ('about = "x"\nbackend = "abacus"\nprecisions = ["fp32"]', 3, "abacus"),
        ('about = "x"\nbackend = "null"\nprecisions = ["int8"]', 2, "int8"),
        ('backend = "null"\nprecisions = ["fp32"]', 2, "about is missing"),
        ("about =", 2, "x.toml cannot be used"),
    ],
)
def test_target_files_that_cannot_be_used(edgekit: Edgekit, tmp_path: Path, text: str, code: int, said: str) -> None:
    (tmp_path / "x.toml").write_text(text, encoding="utf-8")
    ran = edgekit("convert", SOURCE, "-t", tmp_path / "x.toml", "-o", tmp_path / "out")
    assert ran.code == code
    assert said in ran.err
    assert not (tmp_path / "out").exists()


def test_a_package_is_replaced_and_another_folder_is_not(edgekit: Edgekit, tmp_path: Path) -> None:
    assert edgekit("convert", SOURCE, "-o", tmp_path).code == 0
    assert edgekit("convert", SOURCE, "-o", tmp_path).code == 0
    taken = tmp_path / "mine-cpu-fp32"
    taken.mkdir()
    (taken / "diary.txt").write_text("keep me", encoding="utf-8")
    ran = edgekit("convert", SOURCE, "--name", "mine", "-o", tmp_path)
    assert ran.code == 5
    assert "not an edgekit package" in ran.err
    assert (taken / "diary.txt").read_text(encoding="utf-8") == "keep me"


def test_reference_states_the_difference_from_another_form(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    other = packages["fp32"] / "model.onnx"
    ran = edgekit(
        "convert", SOURCE, "--reference", other, "--eval", SHAPES / "eval", "--eval-images", 2, "-o", tmp_path
    )
    assert ran.code == 0, ran.err
    found = measured(receipt(tmp_path / "shapes-cpu-fp32"), "reference")
    assert found["detected boxes max difference"]["value"] < 0.01
    assert found["detected boxes max difference"]["unit"] == "px"
    assert found["detected scores max difference"]["value"] < 1e-4
    assert "against model.onnx" in found["scores SNR"]["note"]
