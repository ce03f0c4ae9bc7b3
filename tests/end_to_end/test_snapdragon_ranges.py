"""Packages for Snapdragons in Qualcomm's simulator, with the oldest and the newest libraries of the ranges that their
manifests state, in environments installed by the extras that error messages name.

onnxruntime-qnn 2.7 is both ends of the provider's range for as long as it is the newest: it has the QAIRT that
compiled these packages, and no earlier one opens them. Phones and boards have libraries of their own: nothing here
tells of those.
"""

from __future__ import annotations

import json
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.errors import MissingError
from edgekit.package import canonical
from edgekit.runtime import load
from edgekit.runtime.image import read_image
from tests.altered import seal
from tests.cli.commands import IMAGE, SOURCE, Edgekit, manifest
from tests.data import SHAPES
from tests.end_to_end.test_engine_ranges import DETECT, WRITE, add_library
from tests.environment import fresh
from tests.language import RANDOM, folder, text_file

pytestmark = pytest.mark.slow
pytest.importorskip("onnxruntime_qnn")
if platform.system() != "Linux" or platform.machine() != "x86_64":
    pytest.skip("compiles and simulates on x86 Linux", allow_module_level=True)


SURE = 0.35  # well above the score that counts, and no object of the image is near


@pytest.fixture(scope="module")
def detectors(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample detector, small, by precision. Do not change them."""
    ran = edgekit(
        "convert",
        SOURCE,
        "-t",
        "snapdragon-8-elite",
        "-p",
        "fp16",
        "-p",
        "w8a8",
        "--image-size",
        96,
        "--calibration",
        SHAPES / "calibration",
        "--calibration-images",
        2,
        "--simulated-images",
        1,
        "--float-layers",
        0,
        "--allow",
        "accuracy",
        "-o",
        tmp_path_factory.mktemp("out"),
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    return {p["precision"]: Path(p["path"]) for p in ran.json["packages"]}


@pytest.fixture(scope="module")
def language_model(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny one with random weights. Do not change it."""
    out = tmp_path_factory.mktemp("text")
    ran = edgekit(
        "convert",
        folder(out / "llama"),
        *RANDOM,
        "-t",
        "snapdragon-8-elite",
        "-p",
        "fp16",
        "--context",
        32,
        "--eval",
        text_file(out / "text.txt"),
        "--eval-windows",
        1,
        "-o",
        out / "dist",
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    return Path(ran.json["packages"][0]["path"])


def opened(package: Path, image: Path) -> str:
    return DETECT.format(package=str(package), simulate=True, image=str(image))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    np.save(tmp_path / "image.npy", read_image(IMAGE))
    return tmp_path / "image.npy"


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_detectors(end: str, wheel: Path, detectors: dict[str, Path], image: Path, tmp_path: Path) -> None:
    made = fresh(tmp_path, pip=False)
    for package in detectors.values():
        add_library(made, wheel, package, end)
        ran = made.python(opened(package, image))
        assert ran.returncode == 0, ran.stderr
        # images are resized by OpenCV here and by numpy there, a grey level apart: near ties and small numbers differ
        expected = [(d.label, d.score, *d.box) for d in load(package, simulate=True)(np.load(image))]
        found = [(label, score, *box) for label, score, box, _ in json.loads(ran.stdout)]
        expected, found = ([d for d in each if d[1] > SURE] for each in (expected, found))
        assert expected and [f[0] for f in found] == [e[0] for e in expected]
        assert [f[1:] for f in found] == [pytest.approx(e[1:], abs=3) for e in expected]


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_language_models(end: str, wheel: Path, language_model: Path, tmp_path: Path) -> None:
    made = fresh(tmp_path, pip=False)
    add_library(made, wheel, language_model, end)
    ran = made.python(WRITE.format(package=str(language_model), simulate=True))
    assert ran.returncode == 0, ran.stderr
    with load(language_model, simulate=True) as llm:
        assert ran.stdout.strip() == str(llm.generate("the cat", max_tokens=8, temperature=0)).strip()


@pytest.mark.parametrize(
    ("provider", "runtime", "wrong"),
    [("2.6.0", "1.32.0", "onnxruntime-qnn 2.6.0"), ("2.7.0", "1.23.2", "onnxruntime 1.23.2")],
)
def test_older_libraries_are_refused(
    provider: str, runtime: str, wrong: str, wheel: Path, detectors: dict[str, Path], image: Path, tmp_path: Path
) -> None:
    """Of their own accord they say that an argument is invalid, or nothing of packages."""
    made = fresh(tmp_path, pip=False)
    made.install(str(wheel), f"onnxruntime=={runtime}")
    made.install("--no-deps", f"onnxruntime-qnn=={provider}")  # its requirements would forbid the pair
    ran = made.python(opened(detectors["fp16"], image))
    assert ran.returncode and f"{wrong} is installed" in ran.stderr
    assert "pip install -U 'edgekit-ml[qnn]'" in ran.stderr
    doctor = made.run("edgekit", "doctor", "--package", detectors["fp16"], "-d", "sim:htp", "--json")
    row = next(c for c in json.loads(doctor.stdout)["checks"] if c["name"] == "engine")
    assert doctor.returncode == 3 and row["state"] == "problem" and wrong in row["found"]


def _rewritten(package: Path, into: Path, **engine: Any) -> Path:
    """A copy whose manifest says something else of the engine; None takes a key away."""
    shutil.copytree(package, into)
    data = manifest(into)
    data["engine"] = {k: v for k, v in {**data["engine"], **engine}.items() if v is not None}
    (into / "manifest.json").write_bytes(canonical(data))
    seal(into, data)
    return into


def test_a_package_of_before_names_the_provider_alone(detectors: dict[str, Path], image: Path, tmp_path: Path) -> None:
    old = _rewritten(detectors["fp16"], tmp_path / "old", versions=">=2,<3", libraries=None)
    assert load(old, simulate=True)(np.load(image))


def test_all_that_is_missing_is_said_at_once(detectors: dict[str, Path], tmp_path: Path) -> None:
    needs = {"onnxruntime": ">=9", "nobodys-library": ">=1"}
    late = _rewritten(detectors["fp16"], tmp_path / "late", versions=">=8,<9", libraries=needs)
    with pytest.raises(MissingError) as refused:
        load(late, simulate=True)
    assert refused.value.what == (
        "This package needs onnxruntime-qnn >=8,<9 and nobodys-library >=1 and onnxruntime >=9"
    )
    assert "nobodys-library is not installed" in refused.value.why
