"""`convert --recipe`: what a file says is as if it had been typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.commands import Edgekit
from tests.data import ROOT, SHAPES

MODELS = """
precision = "fp32"
launches = 0
out = "packages"

[[convert]]
source = "shapes.safetensors"
eval = "eval"
eval-images = 2

[[convert]]
source = "relief"
context = 64
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, place in (
        ("shapes.safetensors", SHAPES / "shapes.safetensors"),
        ("eval", SHAPES / "eval"),
        ("calibration", SHAPES / "calibration"),
        ("relief", ROOT / "samples" / "relief" / "model"),
    ):
        (tmp_path / name).symlink_to(place)
    return tmp_path


def recipe(folder: Path, text: str) -> Path:
    path = folder / "models.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_detector_and_a_language_model(folder: Path, edgekit: Edgekit) -> None:
    packages = edgekit("convert", "--recipe", recipe(folder, MODELS), "--json").json["packages"]
    assert [p["name"] for p in packages] == ["shapes-cpu-fp32", "relief-cpu-fp32"], "links by their own names"
    assert [Path(p["path"]).parent for p in packages] == [folder / "packages"] * 2
    accuracy = [m["samples"] for m in packages[0]["receipt"]["measurements"] if m["name"] == "mAP50-95"]
    assert accuracy == [2]
    assert "--eval-images 2" in packages[0]["receipt"]["steps"][0], "the receipt repeats it without the recipe"


@pytest.mark.slow
def test_what_is_typed_beats_it(folder: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    text = 'source = "shapes.safetensors"\ntarget = ["cpu", "tflite"]\nout = "packages"\nlaunches = 0\nname = "a"\n'
    path = recipe(folder, text)
    packages = edgekit("convert", "--recipe", path, "-t", "tflite", "-p", "fp16", "-o", tmp_path / "b", "--json").json
    assert [p["name"] for p in packages["packages"]] == ["a-tflite-fp16"]
    assert (tmp_path / "b" / "a-tflite-fp16").is_dir() and not (folder / "packages").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('sorce = "a.pt"', "did you mean source?"),
        ('json = true\nsource = "a.pt"', "which is no option of convert"),
        ('source = "a.pt"\nfloat_layers = "many"', "--float-layers"),
        ('source = "a.pt"\nlaunches = -1', "--launches"),
        ('source = ["a.pt"]', "source is not one value"),
        ('source = "a.pt"\ntarget = 3', "target is not a list of texts"),
        ("[[convert]]", "a conversion without source"),
        ("convert = 3", "write [[convert]]"),
        ("convert = [", "cannot be read"),
        ('source = "shapes.safetensors"\ncontext = 64', "--context is for language models"),
        ('source = "relief"\neval = "gone.txt"', "gone.txt"),
        ('source = "gone.pt"', "gone.pt"),
        ('source = "module.py:function"', "which runs code"),
    ],
)
def test_what_is_wrong_in_it_is_one_error(folder: Path, edgekit: Edgekit, text: str, says: str) -> None:
    ran = edgekit("convert", "--recipe", recipe(folder, text))
    assert ran.code == 2 and ran.err.count("error:") == 1
    assert says in ran.err
    assert not (folder / "dist").exists()


def test_without_source_and_recipe(edgekit: Edgekit) -> None:
    ran = edgekit("convert")
    assert ran.code == 2 and "--recipe FILE" in ran.err
    assert edgekit("convert", "--recipe", "gone.toml").code == 2


def test_one_source_is_not_that_of_several_conversions(folder: Path, edgekit: Edgekit) -> None:
    ran = edgekit("convert", "other.onnx", "--recipe", recipe(folder, MODELS))
    assert ran.code == 2 and "2 conversions" in ran.err


def test_the_recipe_in_the_docs_is_read(folder: Path, edgekit: Edgekit) -> None:
    text = re.search(r"```toml\n(.*?)```", (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8"), re.S)
    assert text is not None
    ran = edgekit("convert", "--recipe", recipe(folder, text[1]), "--launches", "1")
    assert ran.code == 2 and "One launch is not a measurement" in ran.err, "all of it was read, nothing begun"
