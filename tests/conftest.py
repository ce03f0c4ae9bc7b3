"""Fixtures: an isolated home for edgekit, the command line, and the sample's packages."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit.aihub.environment import client_python
from edgekit.errors import MissingError
from edgekit.system.environment import prepare_conversion
from tests.data import SHAPES


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nothing a test does reaches the settings, cache or database of whoever runs it."""
    folder = tmp_path_factory.mktemp("home")
    patch = pytest.MonkeyPatch()
    prepare_conversion()  # tests call parts of a conversion by themselves
    with contextlib.suppress(MissingError):  # found before the folder it may lie in is another
        patch.setenv("EDGEKIT_AIHUB_PYTHON", str(client_python()))
    patch.setenv("QAIHUB_CLIENT_INI", str(folder / "client.ini"))  # nobody's token is used
    patch.setenv("XDG_DATA_HOME", str(folder / "data"))
    patch.setenv("EDGEKIT_CONFIG_HOME", str(folder / "config"))
    base = tmp_path_factory.getbasetemp()  # processes that share a run share what is slow to make
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    patch.setenv("EDGEKIT_CACHE", str(shared / "cache"))
    patch.setenv("EDGEKIT_STORE", str(folder / "profiles.sqlite"))
    patch.setenv("EDGEKIT_QUIET", "1")
    patch.setenv("COLUMNS", "80")
    return folder


@pytest.fixture(scope="session")
def edgekit() -> Callable[..., Ran]:
    """Runs a command line in this process."""
    from edgekit.cli.main import run

    def call(*arguments: object) -> Ran:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(a) for a in arguments])
        return Ran(code, out.getvalue(), err.getvalue())

    return call


@contextlib.contextmanager
def unchanged(folder: Path) -> Iterator[None]:
    """Packages that tests share are as they were when the last test is over: one that records a
    profile in them would decide what others find, by the order in which they run."""
    before = receipts(folder)
    yield
    changed = [str(p) for p, text in receipts(folder).items() if before.get(p) != text]
    assert not changed, f"a test changed packages that others share: {changed}"


def receipts(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("receipt.json")}


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Iterator[dict[str, Path]]:
    """The sample detector as fp32 and w8a8 packages, converted once. Do not change them."""
    out = tmp_path_factory.mktemp("packages")
    ran = edgekit(
        "convert",
        SHAPES / "shapes.safetensors",
        "-p",
        "fp32",
        "-p",
        "w8a8",
        "--launches",
        0,
        "--calibration",
        SHAPES / "calibration",
        "--eval",
        SHAPES / "eval",
        "-o",
        out,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    with unchanged(out):
        yield {p["precision"]: Path(p["path"]) for p in ran.json["packages"]}


@pytest.fixture(scope="session")
def tflite_packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Iterator[dict[str, Path]]:
    """The sample detector for TFLite in each precision, by it; `integer` is the one for chips
    without floating point. Do not change them."""
    pytest.importorskip("ai_edge_quantizer")
    out, found = tmp_path_factory.mktemp("tflite"), {}
    common = ("--launches", 0, "--calibration", SHAPES / "calibration", "-o", out, "--json")
    floats = [w for p in ("fp32", "fp16", "w8", "w8a8") for w in ("-p", p)]
    for words in (("-t", "tflite", *floats), ("-t", "tflite-int8")):
        ran = edgekit("convert", SHAPES / "shapes.safetensors", *words, *common)
        assert ran.code == 0, ran.err + ran.out
        for package in ran.json["packages"]:
            name = "integer" if package["target"] == "tflite-int8" else package["precision"]
            found[name] = Path(package["path"])
    with unchanged(out):
        yield found


@pytest.fixture(scope="session")
def text_packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Iterator[dict[str, Path]]:
    """Tiny language models with random weights as packages for the CPU: `fp32`, `w4` of a Llama,
    `ternary` and `fast` of a BitNet. Do not change them."""
    from tests import language

    out = tmp_path_factory.mktemp("text")
    text = language.text_file(out / "text.txt")
    llama, bitnet = language.folder(out / "llama"), language.bitnet(out / "bitnet")
    common = (*language.RANDOM, "--eval", text, "--eval-windows", 2, "--launches", 0, "-o", out / "dist", "--json")
    found = {}
    for words in ((llama, "-p", "fp32", "-p", "w4", "--context", 128), (bitnet,), (bitnet, "--mode", "fast")):
        ran = edgekit("convert", *words, *common)
        assert ran.code == 0, ran.err + ran.out
        for package in ran.json["packages"]:
            name = "fast" if package["name"].endswith("-fast") else package["precision"]
            found[name] = Path(package["path"])
    with unchanged(out / "dist"):
        yield found
