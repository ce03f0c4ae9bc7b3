"""The runs that are killed: what is there before each, its command, and what must be there afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "samples" / "shapes" / "shapes.safetensors"
NAME = "shapes-cpu-fp32"
_TOKEN = "EDGEKIT_KILLS"  # in the environment of every process of one run


@dataclass
class Place:
    """The folders of one run, which nothing else uses."""

    root: Path

    def __post_init__(self) -> None:
        for name in ("out", "cache", "tmp", "store", "data", "config"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.token = uuid.uuid4().hex

    def __getattr__(self, name: str) -> Path:
        return self.root / name

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "EDGEKIT_CACHE": str(self.cache),
            "TMPDIR": str(self.tmp),
            _TOKEN: self.token,
            "EDGEKIT_STORE": str(self.store / "profiles.sqlite"),
            "XDG_DATA_HOME": str(self.data),
            "EDGEKIT_CONFIG_HOME": str(self.config),
            "EDGEKIT_QUIET": "1",
        }

    def processes(self) -> list[int]:
        mark, found = f"{_TOKEN}={self.token}".encode(), []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found

    def emptied(self) -> bool:
        """Whether all processes end by themselves within a few seconds; kills those that do not."""
        until = time.monotonic() + 8
        while (left := self.processes()) and time.monotonic() < until:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left


@dataclass
class Run:
    """One kind of run: what is there before, the command, and what must be there after a kill."""

    name: str
    share: int  # of a hundred kills
    prepare: Callable[[Place, Place], None]  # from the template
    command: Callable[[Place], list[str]]
    look: Callable[[Place], str]  # "", or what is wrong
    exchange: str = "with"
    aimed: bool = True  # else all are random, or `strike` says when
    strike: Callable[[Place, subprocess.Popen[bytes]], None] | None = None


def _package(place: Place, missing_is_well: bool = False) -> str:
    folder = place.out / NAME
    if not folder.exists():
        aside = [p for p in place.out.glob(f".{NAME}.*-old") if not _bad(p)]
        return "" if missing_is_well or aside else "lost"
    return "half-written" if _bad(folder) else ""


def _bad(package: Path) -> bool:
    from edgekit.errors import EdgekitError
    from edgekit.package import Package

    try:
        Package(package).verify()
    except (EdgekitError, OSError):
        return True
    return False


def _packed(place: Place) -> str:
    file = place.out / f"{NAME}.edgepkg"
    return "lost" if not file.exists() else "half-written" if _bad(file) else ""


def _report(place: Place) -> str:
    file = place.out / "report.html"
    if not file.exists():
        return "lost"
    return "" if file.read_text(encoding="utf-8").rstrip().endswith("</html>") else "half-written"


def _store(place: Place) -> str:
    with contextlib.closing(sqlite3.connect(place.store / "profiles.sqlite")) as database:
        if database.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
            return "half-written"
        launches = database.execute("SELECT count(*) FROM launches").fetchone()[0]
    return "lost" if launches < 1 else _package(place)


def _state(place: Place) -> str:
    for folder in (place.root / "before").glob("*/*"):
        if not (place.state / folder.parent.name / folder.name / "record.json").exists():
            return "lost"
    for record in place.state.glob("*/*/record.json"):
        try:
            json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            return "half-written"
    return ""


def _copy(template: Path, into: Path) -> None:
    if template.exists():
        shutil.copytree(template, into, dirs_exist_ok=True)


def _with_package(template: Place, place: Place) -> None:
    _copy(template.out / NAME, place.out / NAME)


def _converted(template: Place, place: Place) -> None:
    _with_package(template, place)
    _copy(template.cache, place.cache)


def _uncompiled(template: Place, place: Place) -> None:
    _converted(template, place)
    for step in (place.cache / "steps").glob("fp32-*"):
        shutil.rmtree(step)


def _archived(template: Place, place: Place) -> None:
    _with_package(template, place)
    shutil.copyfile(template.root / f"{NAME}.edgepkg", place.out / f"{NAME}.edgepkg")


def _reported(template: Place, place: Place) -> None:
    _with_package(template, place)
    shutil.copyfile(template.root / "report.html", place.out / "report.html")


def _measured(template: Place, place: Place) -> None:
    _with_package(template, place)
    _copy(template.store, place.store)


def emulated(template: Place, place: Place) -> None:
    shutil.copyfile(template.out / NAME / "model.onnx", place.root / "model.onnx")
    if template.root == place.root:
        return
    for name in ("models", "datasets", "jobs"):
        _copy(template.state / name, place.state / name)
        _copy(template.state / name, place.root / "before" / name)


def _strike_emulator(place: Place, process: subprocess.Popen[bytes]) -> None:
    """At a request, which it is about to write down; the server, or what started it."""
    wanted, delay = random.randint(0, 16), random.uniform(0, 0.05)
    server, until = random.random() < 0.5, time.monotonic() + 60
    log = place.state / "log.jsonl"
    while time.monotonic() < until and process.poll() is None:
        if log.exists() and len(log.read_bytes().splitlines()) >= wanted:
            break
        time.sleep(0.002)
    time.sleep(delay)
    if server:
        for pid in place.processes():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"--attended" in line and b"-I" in line:
                    os.kill(pid, signal.SIGKILL)
        time.sleep(random.uniform(0, 0.5))
    process.kill()


_CLIENT = """
import subprocess, sys, tempfile, numpy as np, qai_hub as hub
tempfile.tempdir = sys.argv[2]  # what it leaves is not edgekit's
below = subprocess.Popen(["sleep", "300"], start_new_session=True)  # a grandchild, in a group of its own
try:
    hub.get_devices()
    hub.upload_dataset({"image": [np.zeros((1, 3, 8, 8), np.float32)] * 4})
    hub.upload_dataset({"image": [np.ones((1, 3, 8, 8), np.float32)] * 4})
    model = hub.upload_model(sys.argv[1])
    job = hub.submit_compile_job(model, hub.Device("Samsung Galaxy S24 (Family)"), options="--target_runtime onnx")
finally:
    below.kill()
"""


def emulator(place: Place) -> list[str]:
    python = os.environ["EDGEKIT_AIHUB_PYTHON"]
    return [
        "hub-emulator",
        "--state",
        str(place.state),
        "--client-python",
        python,
        "--",
        python,
        "-I",
        "-c",
        _CLIENT,
        str(place.root / "model.onnx"),
        str(place.root),
    ]


def convert(place: Place) -> list[str]:
    return ["convert", str(SOURCE), "-t", "cpu", "-p", "fp32", "--launches", "0", "-o", str(place.out)]


def profile(place: Place) -> list[str]:
    few = ["--launches", "2", "--iterations", "3", "--warmup", "1"]
    return ["profile", str(place.out / NAME), *few]


def _new(place: Place) -> str:
    return _package(place, missing_is_well=True)


RUNS = (
    Run("convert, again", 14, _converted, convert, _package),
    Run("convert, compiling", 10, _uncompiled, convert, _package),
    Run("convert, new", 4, lambda t, p: None, convert, _new),
    Run("convert, two renames", 8, _converted, convert, _package, exchange="without"),
    Run("profile", 14, _measured, profile, _store),
    Run("pack", 12, _archived, lambda p: ["pack", str(p.out / NAME), "-o", str(p.out / f"{NAME}.edgepkg")], _packed),
    Run("unpack", 14, _archived, lambda p: ["unpack", str(p.out / f"{NAME}.edgepkg"), "-o", str(p.out)], _package),
    Run("report", 12, _reported, lambda p: ["report", str(p.out / NAME), "-o", str(p.out / "report.html")], _report),
    Run("emulator", 12, emulated, emulator, _state, aimed=False, strike=_strike_emulator),
)
