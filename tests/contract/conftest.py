"""A package for every engine that edgekit has, so that each of them passes the contract of its kind."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.package import Package
from tests.adb_double.adb import AdbServer
from tests.adb_double.phone import Phone
from tests.adb_double.server import Double
from tests.conftest import converted, unchanged
from tests.data import SHAPES
from tests.made_once import made_once

SIMULATES = platform.system() == "Linux" and platform.machine() == "x86_64"
Edgekit = Callable[..., Any]
GRAPHS = ("litert", "onnxruntime", "qnn")
TEXTS = ("genai", "litert-text", "qnn-text")
CONTEXT = 64
FEW = ("--calibration", SHAPES / "calibration", "--calibration-images", 2)  # as others of the suite measure on


@pytest.fixture(scope="session")
def adb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    pytest.importorskip("adbutils")
    if platform.system() != "Linux":
        pytest.skip("the double of a phone wants Linux: its shell is this machine's")
    try:
        server = AdbServer(tmp_path_factory.mktemp("adb"))
    except (OSError, RuntimeError) as error:
        pytest.skip(f"adb does not run here: {error}")
    yield server
    server.close()


@pytest.fixture
def adb(adb_server: AdbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    """A double of a phone, which a real adb server knows."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_server.port))
    double = Double(Phone(tmp_path / "phone"))
    adb_server.connect(double.serial)
    adb_server.wait(double.serial, "device")
    yield double
    double.close()
    adb_server.disconnect(double.serial)


@pytest.fixture(scope="session")
def snapdragon(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The sample detector for one chip, small. Do not change it."""
    _needs_simulator()
    sizes = ("--image-size", 96, "--simulated-images", 1, *FEW)
    words = (SHAPES / "shapes.safetensors", "-t", "snapdragon-8-elite", "-p", "w8a8", *sizes)
    path = _made("snapdragon", lambda out: converted(edgekit, *words, out=out), tmp_path_factory)
    with unchanged(path):
        yield path


@pytest.fixture(scope="session")
def small_texts(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    """Converts a tiny language model with random weights for a target; each once. Do not change them."""
    from tests import language

    made = dict[str, Path]()

    def convert(target: str, precision: str, allowed: str = "") -> Path:
        def write(out: Path) -> list[dict[str, Any]]:
            out.mkdir()
            folder, text = language.folder(out / "llama"), language.text_file(out / "text.txt")
            allow = ("--allow", allowed) if allowed else ()
            common = (*language.RANDOM, "--context", CONTEXT, "--eval", text, "--eval-windows", 1)
            return converted(edgekit, folder, "-t", target, "-p", precision, *allow, *common, out=out / "dist")

        if target not in made:
            made[target] = _made(f"text for {target}", write, tmp_path_factory)
            stack.enter_context(unchanged(made[target]))
        return made[target]

    with contextlib.ExitStack() as stack:
        yield convert


def _made(name: str, convert: Callable[[Path], list[dict[str, Any]]], factory: pytest.TempPathFactory) -> Path:
    return made_once(name, lambda out: {"": Path(convert(out)[0]["path"])}, factory)[""]


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
