"""Packages opened with the oldest and the newest library of the range that their manifest states, in
environments installed by the extras that error messages name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtime import load
from edgekit.runtime.image import read_image
from tests.cli.commands import IMAGE, manifest
from tests.environment import Environment, fresh

pytestmark = pytest.mark.slow

LIBRARIES = {
    "onnxruntime": ("runtime", "onnxruntime"),
    "litert": ("litert", "ai-edge-litert"),
    "genai": ("genai", "onnxruntime-genai"),
    "qnn": ("qnn", "onnxruntime-qnn"),
    "qnn-text": ("genai,qnn", "onnxruntime-qnn"),
}
DETECT = (
    "import json, numpy; from edgekit.runtime import load\n"
    "print(json.dumps(load({package!r}, simulate={simulate})(numpy.load({image!r}))))"
)
WRITE = (
    "from edgekit.runtime import load\n"
    "with load({package!r}, simulate={simulate}) as llm:\n"
    "    print(llm.generate('the cat', max_tokens=8, temperature=0))"
)


def pinned(versions: str, end: str) -> str:
    """A requirement for the oldest, or the newest, of a range like `>=1.20,<2`."""
    oldest = versions.partition(",")[0].removeprefix(">=")
    exact = "" if oldest.count(".") > 1 else ".*"
    return f"=={oldest}{exact}" if end == "oldest" else versions


def add_library(made: Environment, wheel: Path, package: Path, end: str) -> None:
    engine = manifest(package)["engine"]
    extra, library = LIBRARIES[engine["name"]]
    needed = {library: engine["versions"], **engine["libraries"]}
    made.install(f"{wheel}[{extra}]", *(name + pinned(v, end) for name, v in needed.items()))


@pytest.mark.parametrize("end", ["oldest", "newest"])
@pytest.mark.parametrize("kind", ["onnxruntime", "litert"])
def test_detectors(
    kind: str, end: str, wheel: Path, packages: dict[str, Path], tflite_packages: dict[str, Path], tmp_path: Path
) -> None:
    found = packages if kind == "onnxruntime" else tflite_packages
    image = tmp_path / "image.npy"
    np.save(image, read_image(IMAGE))
    made = fresh(tmp_path, pip=False)
    for package in found.values():
        add_library(made, wheel, package, end)
        ran = made.python(DETECT.format(package=str(package), simulate=False, image=str(image)))
        assert ran.returncode == 0, ran.stderr
        # other kernels round in another way, and near ties change places
        expected = sorted((d.label, *d.box, d.score) for d in load(package)(np.load(image)))
        seen = sorted((label, *box, score) for label, score, box, _ in json.loads(ran.stdout))
        assert [label for label, *_ in seen] == [label for label, *_ in expected]
        for (_, *box, score), (_, *its, other) in zip(seen, expected):
            assert score == pytest.approx(other, abs=0.05) and box == pytest.approx(its, abs=3)


@pytest.mark.parametrize("tokenizers", ["==0.22.*", ">=0.22,<1"])
def test_language_models(tokenizers: str, wheel: Path, text_packages: dict[str, Path], tmp_path: Path) -> None:
    """The extra brings all that a package needs, its tokenizer included."""
    made = fresh(tmp_path, pip=False)
    add_library(made, wheel, text_packages["fp32"], "oldest")
    made.install("tokenizers" + tokenizers)
    for package in text_packages.values():
        ran = made.python(WRITE.format(package=str(package), simulate=False))
        assert ran.returncode == 0, ran.stderr


def test_an_older_library_is_refused(wheel: Path, tflite_packages: dict[str, Path], tmp_path: Path) -> None:
    """It would open the file and find nothing."""
    made = fresh(tmp_path, pip=False)
    made.install(f"{wheel}[litert]", "ai-edge-litert==1.2.*")
    np.save(tmp_path / "image.npy", np.zeros((64, 64, 3), np.uint8))
    ran = made.python(
        DETECT.format(package=str(tflite_packages["fp16"]), simulate=False, image=str(tmp_path / "image.npy"))
    )
    assert ran.returncode and "needs ai-edge-litert 1.4 or later" in ran.stderr
    assert "pip install 'ai-edge-litert>=1.4" in ran.stderr
