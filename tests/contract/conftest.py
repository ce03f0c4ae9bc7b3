"""A package for every engine that edgekit has, so that each of them passes the contract of its kind."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.package import Package
from tests.conftest import unchanged
from tests.data import SHAPES

SIMULATES = platform.system() == "Linux" and platform.machine() == "x86_64"
Edgekit = Callable[..., Any]
GRAPHS = ("litert", "onnxruntime", "qnn")
TEXTS = ("genai", "litert-text", "qnn-text")
CONTEXT = 64


@pytest.fixture(scope="session")
def snapdragon(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sample detector for one chip, small. Do not change it."""
    _needs_simulator()
    out = tmp_path_factory.mktemp("snapdragon")
    sizes = ("--image-size", 96, "--simulated-images", 1, "--launches", 0, "--calibration", SHAPES / "calibration")
    path = _converted(edgekit, SHAPES / "shapes.safetensors", "-t", "snapdragon-8-elite", "-p", "w8a8", *sizes, out=out)
    with unchanged(path):
        yield path


@pytest.fixture(scope="session")
def small_texts(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Converts a tiny language model with random weights for a target; each once. Do not change them."""
    from tests import language

    out, made = tmp_path_factory.mktemp("texts"), dict[str, Path]()
    text, folder = language.text_file(out / "text.txt"), language.folder(out / "llama")
    common = (*language.RANDOM, "--context", CONTEXT, "--eval", text, "--eval-windows", 1, "--launches", 0)

    def convert(target: str, precision: str, allowed: str = "") -> Path:
        if target not in made:
            allow = ("--allow", allowed) if allowed else ()
            made[target] = _converted(edgekit, folder, "-t", target, "-p", precision, *allow, *common, out=out / target)
            stack.enter_context(unchanged(made[target]))
        return made[target]

    with contextlib.ExitStack() as stack:
        yield convert


def _converted(edgekit: Edgekit, *words: object, out: Path) -> Path:
    ran = edgekit("convert", *words, "-o", out, "--json")
    assert ran.code == 0, ran.err + ran.out
    return Path(ran.json["packages"][0]["path"])


def _needs_simulator() -> None:
    pytest.importorskip("onnxruntime_qnn")
    if not SIMULATES:
        pytest.skip("Qualcomm's library simulates on x86 Linux only")


@pytest.fixture(scope="session")
def package_of(request: pytest.FixtureRequest) -> Callable[[str], Package]:
    """A package that an engine opens, by the engine's name."""

    def texts(target: str, precision: str, allowed: str = "") -> Path:
        pytest.importorskip("onnxruntime_genai")
        path: Path = request.getfixturevalue("small_texts")(target, precision, allowed)
        return path

    def text_for_snapdragon() -> Path:
        _needs_simulator()
        return texts("snapdragon-8-elite", "fp16")

    makers: dict[str, Callable[[], Path]] = {
        "onnxruntime": lambda: request.getfixturevalue("packages")["fp32"],
        "litert": lambda: request.getfixturevalue("tflite_packages")["fp32"],
        "qnn": lambda: request.getfixturevalue("snapdragon"),
        "genai": lambda: texts("cpu", "fp32"),
        "litert-text": lambda: texts("tflite", "w8", "accuracy"),
        "qnn-text": text_for_snapdragon,
    }
    assert makers.keys() == {*GRAPHS, *TEXTS}
    opened = dict[str, Package]()

    def package(engine: str) -> Package:
        if engine not in opened:
            opened[engine] = Package(makers[engine]())
        assert opened[engine].manifest.engine.name == engine
        return opened[engine]

    return package
