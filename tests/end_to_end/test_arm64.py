"""A package gives the same boxes and the same text on ARM64 as here. Emulated: results only, never speed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtime import Detection, load
from edgekit.runtime.image import read_image
from tests import arm64
from tests.data import SHAPES

pytestmark = pytest.mark.slow
# Of the size of the model's input, or smaller: OpenCV here and numpy there resize one grey level apart.
IMAGES = [SHAPES / "eval" / "images" / f"{name}.jpg" for name in ("9002-0000", "9002-0002")]

# Arrays, since an image file would be decoded by a different library there.
DETECT = """
import json, platform, sys
import numpy
from edgekit.runtime import load
detector = load(sys.argv[1])
found = [detector(numpy.load(file)) for file in sys.argv[2:]]
print(json.dumps({"machine": platform.machine(), "found": found}))
"""

WRITE = """
import json, platform, sys
from edgekit.runtime import load
llm = load(sys.argv[1], threads=1)
written = llm.generate(sys.argv[2], max_tokens=4, logprobs=4)
print(json.dumps({"machine": platform.machine(), "text": written.text, "scores": written.scores}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This edgekit for ARM64; skips where the emulated environment cannot be built."""
    if reason := arm64.available():
        pytest.skip(reason)
    return arm64.install(tmp_path_factory.mktemp("arm64") / "edgekit")


def unmatched(some: list[Detection], others: list[Detection], pixels: float, score: float) -> list[Detection]:
    """Those of `some` that `others` lack; `pixels` and `score` are how far two of a kind may differ."""
    return [
        d
        for d in some
        if not any(
            d.label == o.label
            and d.score == pytest.approx(o.score, abs=score)
            and d.box == pytest.approx(o.box, abs=pixels)
            for o in others
        )
    ]


# The fixture that holds the packages, which of them, and how far its results may differ. An 8-bit
# network magnifies the last bit of its float layers: one activation rounded the other way moves
# these boxes by up to 2.5 pixels and scores by up to .06, here as well as there.
@pytest.mark.parametrize(
    ("fixture", "name", "pixels", "score"),
    [
        ("packages", "fp32", 1e-2, 1e-4),
        ("packages", "w8a8", 3, 0.1),
        ("tflite_packages", "fp32", 1e-2, 1e-4),
        ("tflite_packages", "fp16", 1e-2, 1e-4),
        ("tflite_packages", "w8", 3, 0.1),
        ("tflite_packages", "w8a8", 3, 0.1),
        ("tflite_packages", "integer", 3, 0.1),
    ],
)
def test_the_same_boxes_on_arm64(
    request: pytest.FixtureRequest,
    installed: Path,
    tmp_path: Path,
    fixture: str,
    name: str,
    pixels: float,
    score: float,
) -> None:
    package = request.getfixturevalue(fixture)[name]
    arrays = [read_image(image) for image in IMAGES]
    files = [tmp_path / f"{image.stem}.npy" for image in IMAGES]
    for file, array in zip(files, arrays):
        np.save(file, array)
    ran = arm64.run("-c", DETECT, package, *files, path=[installed])
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["machine"] == "aarch64"
    with load(package) as detector:
        for array, lists in zip(arrays, answer["found"], strict=True):
            here, there = detector(array), [Detection(*values) for values in lists]
            sure = detector.spec.score_threshold + score  # nearer to it, a box may come or go
            assert [d for d in here if d.score > sure], "the image shows something"
            assert not unmatched([d for d in here if d.score > sure], there, pixels, score)
            assert not unmatched([d for d in there if d.score > sure], here, pixels, score)


# How far log-probabilities may differ: ARM's kernel for 4 bits rounds a layer's inputs in another way.
@pytest.mark.parametrize(("name", "apart"), [("fp32", 1e-4), ("w4", 0.15), ("ternary", 1e-3), ("fast", 1e-3)])
def test_the_same_text_on_arm64(text_packages: dict[str, Path], installed: Path, name: str, apart: float) -> None:
    prompt = "the cat sat on"
    ran = arm64.run("-c", WRITE, text_packages[name], prompt, path=[installed])
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert answer["machine"] == "aarch64"
    with load(text_packages[name]) as llm:
        here = llm.generate(prompt, max_tokens=4, logprobs=4)
    assert answer["text"] == here.text
    for ours, (token, _, logprob, _) in zip(here.scores, answer["scores"], strict=True):
        assert token == ours.token and logprob == pytest.approx(ours.logprob, abs=apart)
