"""Fixtures: an isolated home for edgekit, the command line, and the sample's packages."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgekit.aihub.environment import client_python
from edgekit.backends import worker
from edgekit.errors import MissingError
from edgekit.system import child
from edgekit.system.environment import prepare_conversion
from tests.data import SHAPES
from tests.made_once import made_once, shared_folder
from tests.ssh_server import INSTALL, SSHD, SshServer, ssh_server
from tests.warm_children import Nursery

# Files that take longest, longest first: processes that share a run by files end at about the same time then.
LONGEST = (
    "test_detectors.py",
    "test_backends.py",
    "test_aihub_runs.py",
    "test_engine_ranges.py",
    "test_arm64.py",
    "test_text_families.py",
    "test_snapdragon_ranges.py",
    "test_wheel.py",
    "test_aihub.py",
    "test_hub_emulator_faults.py",
    "test_snapdragon_packages.py",
    "test_quantised_conversions.py",
    "test_snapdragon_text.py",
    "test_tflite_text.py",
    "test_fuzz.py",
    "test_tflite_readers.py",
    "test_hub_emulator.py",
    "test_android_kotlin.py",
    "test_dockerfile.py",
    "test_notebooks.py",
    "test_language_models.py",
    "test_language_parts.py",
    "test_interruptions.py",
    "test_same_bytes.py",
    "test_plugin.py",
    "test_refusal.py",
    "test_convert_verb.py",
    "test_converting_again.py",
    "test_hub.py",
    "test_kills.py",
    "test_download.py",
)
# Fixtures that take long to make.
SLOW = {"packages", "text_packages", "tflite_packages", "tflite", "snapdragon", "small_texts", "package_of"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first. They are slow, and so is all of tests/end_to_end and what uses one of `SLOW`."""
    place = {name: index for index, name in enumerate(LONGEST)}
    for item in items:
        converts = item.path.name in place or item.path.parent.name == "end_to_end"
        if converts or SLOW & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


# Programs of Debian that tests need, and the packages that bring them.
PROGRAMS = {"sshd": "openssh-server", "javac": "default-jdk-headless", "chromium": "chromium"}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was skipped and why, and the one command that installs what was missing."""
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    for reason, count in reasons.most_common():
        terminalreporter.write_line(f"skipped {count}: {reason.removeprefix('Skipped: ')[:200]}")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)]
    if reasons and missing:
        terminalreporter.write_line(f"to run what needs more: apt-get install {' '.join(missing)}")


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
    patch.setenv("ANDROID_ADB_SERVER_PORT", "1")  # nobody's phones are asked; one that is named is not started either
    patch.setenv("QAIHUB_CLIENT_INI", str(folder / "client.ini"))  # nobody's token is used
    patch.setenv("XDG_DATA_HOME", str(folder / "data"))
    patch.setenv("EDGEKIT_CONFIG_HOME", str(folder / "config"))
    patch.setenv("EDGEKIT_CACHE", str(shared_folder(tmp_path_factory) / "cache"))
    patch.setenv("EDGEKIT_STORE", str(folder / "profiles.sqlite"))
    patch.setenv("EDGEKIT_QUIET", "1")
    patch.setenv("COLUMNS", "80")
    if "PYTEST_XDIST_WORKER" in os.environ:  # others use the rest of the cores: threads would wait for them, spinning
        patch.setenv("EDGEKIT_THREADS", "1")
    return folder


@pytest.fixture(scope="session", autouse=True)
def warm(home: Path) -> Iterator[None]:
    """Children of conversions start warm."""
    if sys.platform != "linux" or "EDGEKIT_TEST_COLD" in os.environ:
        yield
        return
    nursery = Nursery()
    with pytest.MonkeyPatch.context() as patch:
        for module in (child, worker):
            patch.setattr(module, "subprocess", nursery)
        yield
    nursery.close()


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


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test makes of HOME, it is as it was afterwards; skipped where no SSH server is installed."""
    if SSHD is None:
        pytest.skip(f"no SSH server is here: {INSTALL}")
    monkeypatch.setenv("HOME", os.environ["HOME"])


@pytest.fixture(scope="session")
def ssh_device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture
def ssh(user: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """A real SSH server, and a user who is known to it."""
    server: SshServer = request.getfixturevalue("ssh_device")
    monkeypatch.setenv("HOME", str(server.user_home))
    (server.user_home / ".ssh" / "known_hosts").write_text(server.known, encoding="utf-8")
    return server


def receipts(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("receipt.json")}


def converted(edgekit: Callable[..., Ran], *words: object, out: Path) -> list[dict[str, Any]]:
    """What `convert` says of the packages that it wrote to `out`."""
    ran = edgekit("convert", *words, "--launches", 0, "-o", out, "--json")
    assert ran.code == 0, ran.err + ran.out
    found: list[dict[str, Any]] = ran.json["packages"]
    return found


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Iterator[dict[str, Path]]:
    """The sample detector as fp32 and w8a8 packages, converted once. Do not change them."""

    def make(out: Path) -> dict[str, Path]:
        data = ("--calibration", SHAPES / "calibration", "--eval", SHAPES / "eval")
        words = ("-p", "fp32", "-p", "w8a8", "--float-layers", 16)  # as many as a search finds
        made = converted(edgekit, SHAPES / "shapes.safetensors", *words, *data, out=out)
        return {p["precision"]: Path(p["path"]) for p in made}

    found = made_once("packages", make, tmp_path_factory)
    with unchanged(found["fp32"].parent):
        yield found


@pytest.fixture(scope="session")
def tflite_packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Iterator[dict[str, Path]]:
    """The sample detector for TFLite in each precision, by it; `integer` is the one for chips
    without floating point. Do not change them."""
    pytest.importorskip("ai_edge_quantizer")

    def make(out: Path) -> dict[str, Path]:
        found = {}
        floats = [w for p in ("fp32", "fp16", "w8", "w8a8") for w in ("-p", p)]
        for words in (("-t", "tflite", *floats), ("-t", "tflite-int8")):
            data = ("--calibration", SHAPES / "calibration")
            for package in converted(edgekit, SHAPES / "shapes.safetensors", *words, *data, out=out):
                name = "integer" if package["target"] == "tflite-int8" else package["precision"]
                found[name] = Path(package["path"])
        return found

    found = made_once("tflite", make, tmp_path_factory)
    with unchanged(found["fp32"].parent):
        yield found


@pytest.fixture(scope="session")
def text_packages(tmp_path_factory: pytest.TempPathFactory, edgekit: Callable[..., Ran]) -> Iterator[dict[str, Path]]:
    """Tiny language models with random weights as packages for the CPU: `fp32`, `w4` of a Llama,
    `ternary` and `fast` of a BitNet. Do not change them."""
    from tests import language

    def make(out: Path) -> dict[str, Path]:
        out.mkdir()
        text = language.text_file(out / "text.txt")
        llama, bitnet = language.folder(out / "llama"), language.bitnet(out / "bitnet")
        common = (*language.RANDOM, "--eval", text, "--eval-windows", 2)
        found = {}
        for words in ((llama, "-p", "fp32", "-p", "w4", "--context", 128), (bitnet,), (bitnet, "--mode", "fast")):
            for package in converted(edgekit, *words, *common, out=out / "dist"):
                name = "fast" if package["name"].endswith("-fast") else package["precision"]
                found[name] = Path(package["path"])
        return found

    found = made_once("text", make, tmp_path_factory)
    with unchanged(found["fp32"].parent):
        yield found
