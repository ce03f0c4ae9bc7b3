"""Kills runs of edgekit with SIGKILL, at random moments and at every kind of write, and looks at what is left.

    python tests/attacks/kills.py --kills 100          (`make kills`)
    python tests/attacks/kills.py --only unpack --kills 20 --seed 3

What must hold after each kill: what was there before is there still, whole, or the new one is in its
place (else *lost* or *half-written*); no process remains; the same command then succeeds (else *stuck*) and
leaves nothing unfinished behind (else *leftovers*). Linux only: it finds processes in /proc.

An aimed kill comes from inside: the run counts its own writes (files opened for writing, renames,
removals, fsync, statements of SQLite) and kills itself before the n-th, or a moment after it began.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "samples" / "shapes" / "shapes.safetensors"
NAME = "shapes-cpu-fp32"
_TOKEN = "EDGEKIT_KILLS"  # in the environment of every process of one run
_WATCHED = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "subprocess.Popen")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


# In the run that is killed


def child(options: Sequence[str], arguments: list[str]) -> None:
    """Runs a command line; writes the names of its writes, or dies at one."""
    place, number, delay, events, exchange = (
        options[0],
        int(options[1]),
        float(options[2]),
        options[3],
        options[4],
    )
    seen: list[str] = []

    def happened(what: str) -> None:
        seen.append(what)
        if len(seen) != number:
            return
        if delay:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(given[0], str) and given[0].startswith(place) and (given[2] or 0) & _WRITING:
                happened(f"open {given[0]}")
        elif event in _WATCHED:
            below = any(isinstance(g, (str, bytes)) and os.fsdecode(g).startswith(place) for g in given)
            by_handle = event in ("os.remove", "os.rmdir") and given[1] != -1
            if below or by_handle or event == "subprocess.Popen":
                happened(f"{event} {given[0]!r}")

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:  # type: ignore[override]
            happened(f"sqlite {sql[:40]}")
            return super().execute(sql, *rest)

        def __exit__(self, *error: Any) -> Any:
            happened("sqlite commit")
            return super().__exit__(*error)

    fsync, connect = os.fsync, sqlite3.connect

    def counted_fsync(handle: int) -> None:
        happened("fsync")
        fsync(handle)

    os.fsync = counted_fsync
    sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)  # type: ignore[assignment]
    if exchange == "without":
        import errno

        from edgekit import atomic

        def cannot(one: Path, other: Path) -> None:
            raise OSError(errno.EINVAL, "this file system exchanges nothing")

        if hasattr(atomic, "exchange"):
            atomic.exchange = cannot
    from edgekit.cli.main import main

    sys.addaudithook(hook)
    try:
        main(arguments)
    finally:
        number = -1
        Path(events).write_text(json.dumps(seen), encoding="utf-8")


# The runs


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
            **os.environ, "EDGEKIT_CACHE": str(self.cache), "TMPDIR": str(self.tmp), _TOKEN: self.token,
            "EDGEKIT_STORE": str(self.store / "profiles.sqlite"), "XDG_DATA_HOME": str(self.data),
            "EDGEKIT_CONFIG_HOME": str(self.config), "EDGEKIT_QUIET": "1",
        }  # fmt: skip

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


def _emulated(template: Place, place: Place) -> None:
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


def _emulator(place: Place) -> list[str]:
    python = os.environ["EDGEKIT_AIHUB_PYTHON"]
    return ["hub-emulator", "--state", str(place.state), "--client-python", python, "--",
            python, "-I", "-c", _CLIENT, str(place.root / "model.onnx"), str(place.root)]  # fmt: skip


def _convert(place: Place) -> list[str]:
    return ["convert", str(SOURCE), "-t", "cpu", "-p", "fp32", "--launches", "0", "-o", str(place.out)]


def _profile(place: Place) -> list[str]:
    few = ["--launches", "2", "--iterations", "3", "--warmup", "1"]
    return ["profile", str(place.out / NAME), *few]


def _new(place: Place) -> str:
    return _package(place, missing_is_well=True)


RUNS = (
    Run("convert, again", 14, _converted, _convert, _package),
    Run("convert, compiling", 10, _uncompiled, _convert, _package),
    Run("convert, new", 4, lambda t, p: None, _convert, _new),
    Run("convert, two renames", 8, _converted, _convert, _package, exchange="without"),
    Run("profile", 14, _measured, _profile, _store),
    Run("pack", 12, _archived,
        lambda p: ["pack", str(p.out / NAME), "-o", str(p.out / f"{NAME}.edgepkg")], _packed),
    Run("unpack", 14, _archived,
        lambda p: ["unpack", str(p.out / f"{NAME}.edgepkg"), "-o", str(p.out)], _package),
    Run("report", 12, _reported,
        lambda p: ["report", str(p.out / NAME), "-o", str(p.out / "report.html")], _report),
    Run("emulator", 12, _emulated, _emulator, _state, aimed=False, strike=_strike_emulator),
)  # fmt: skip


# Killing


def _start(run: Run, place: Place, number: int = 0, delay: float = 0.0) -> subprocess.Popen[bytes]:
    options = [str(place.root), str(number), str(delay), str(place.root / "events.json"), run.exchange]
    with (place.root / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-P", __file__, "--child", *options, *run.command(place)],
            env=place.environment(), stdout=said, stderr=said, cwd=place.root,
        )  # fmt: skip


def writes(run: Run, place: Place) -> list[str]:
    """The writes of a run that nothing kills."""
    if code := _start(run, place).wait():
        print((place.root / "said.txt").read_text(encoding="utf-8", errors="replace"))
        raise SystemExit(
            f"edgekit {' '.join(run.command(place))} fails without a kill: exit code {code}"
        )
    found: list[str] = json.loads((place.root / "events.json").read_text(encoding="utf-8"))
    return found


def leftovers(place: Place, before: set[str]) -> list[str]:
    """What is there and has no business to be."""
    found = [f"tmp/{p.name}" for p in place.tmp.iterdir()]
    found += [f"cache/{p.name}" for p in place.cache.glob("steps/.*")]
    found += [f"store/{p.name}" for p in place.store.iterdir() if p.name != "profiles.sqlite"]
    found += [f"out/{p.name}" for p in place.out.iterdir() if p.name not in before]
    found += [f"out/{NAME}/{p.name}" for p in place.out.glob(f"{NAME}/.*")]
    if place.state.exists():
        found += [str(p.relative_to(place.root)) for p in place.state.rglob("tmp*") if p.is_file()]
    return found


def one_kill(
    run: Run, template: Place, folder: Path, count: int, seconds: float, aim: bool, number: int = 0
) -> Counter[str]:
    """Kills one run, before write `number` if that is given, and counts what went wrong. `count`: its
    writes."""
    place, counts = Place(folder), Counter(kills=1)
    run.prepare(template, place)
    names = {p.name for p in place.out.iterdir()} | {NAME}
    if run.strike is not None:
        process = _start(run, place)
        run.strike(place, process)
        how = "at a request"
    elif aim:
        delay = 0.0 if number else random.choice((0.0, 0.0, random.uniform(0, 0.004)))
        number = number or random.randint(1, count)
        process, how = (
            _start(run, place, number, delay),
            f"at write {number} of {count} + {delay:.4f} s",
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(120)
    else:
        process, when = _start(run, place), random.uniform(0.03, seconds)
        how = f"after {when:.2f} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(when)
    process.kill()
    if process.wait() != -signal.SIGKILL:
        counts = Counter(late=1)  # it had ended; nothing was killed
    if not place.emptied():
        counts["processes"] += 1
    bad = run.look(place)
    if bad:
        counts[bad] += 1
    again = _start(run, place)
    again.wait()
    again_bad = again.returncode != 0 or bool(run.look(place))
    counts["stuck"] += again_bad
    place.emptied()
    left = leftovers(place, names)
    counts["leftovers"] += bool(left)
    if bad or again_bad or left or counts["processes"]:
        print(
            f"  {run.name}, killed {how}: {bad} {'stuck' if again_bad else ''} {left[:4]}", flush=True
        )
    shutil.rmtree(folder)
    return counts


COLUMNS = ("kills", "lost", "half-written", "processes", "stuck", "leftovers")


def kill(
    runs: Sequence[Run], kills: int, template: Place, work: Path, aimed: float = 0.6
) -> dict[str, Counter[str]]:
    """Kills of each run by its share; an aimed run is first watched to count its writes."""
    total, counts = sum(r.share for r in runs), {}
    for run in runs:
        wanted, found = max(1, round(kills * run.share / total)), Counter[str]()
        place = Place(work / "whole")
        run.prepare(template, place)
        start = time.monotonic()
        count = len(writes(run, place))
        seconds = time.monotonic() - start
        shutil.rmtree(place.root)
        while found["kills"] < wanted and found["late"] < 3 * wanted:
            aim = run.aimed and found["kills"] < wanted * aimed
            found += one_kill(run, template, work / "killed", count, seconds, aim)
        counts[run.name] = found
        print(row(run.name, found), flush=True)
    return counts


def row(name: str, counts: Counter[str]) -> str:
    return f"{name:22}" + "".join(f"{counts[c]:>13}" for c in COLUMNS)


def prepared(root: Path, emulated: bool) -> Place:
    """What runs begin with: a package, its cache, its archive, a report, a measurement, a used emulator."""
    template = Place(root)
    _make(template, _convert)
    _make(template, _profile)
    finish_template(template)
    if emulated:
        _emulated(template, template)
        _make(template, _emulator)
    return template


def finish_template(template: Place) -> None:
    """What is made of the package in it."""
    _make(template, lambda p: ["pack", str(p.out / NAME), "-o", str(p.root / f"{NAME}.edgepkg")])
    _make(template, lambda p: ["report", str(p.out / NAME), "-o", str(p.root / "report.html")])


def _make(template: Place, command: Callable[[Place], list[str]]) -> None:
    writes(Run("", 0, lambda t, p: None, command, lambda p: ""), template)


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="runs whose name begins so")
    options = parser.parse_args()
    random.seed(options.seed)
    runs = [r for r in RUNS if not options.only or r.name.startswith(tuple(options.only))]
    if "EDGEKIT_AIHUB_PYTHON" not in os.environ:
        print("without the emulator: EDGEKIT_AIHUB_PYTHON names no interpreter with qai_hub")
        runs = [r for r in runs if r.name != "emulator"]
    with workplace() as work:
        template = prepared(work / "template", any(r.name == "emulator" for r in runs))
        print(f"{'':22}" + "".join(f"{c:>13}" for c in COLUMNS))
        counts = kill(runs, options.kills, template, work)
    total = sum(counts.values(), Counter[str]())
    print(row("all", total))
    return int(any(total[c] for c in COLUMNS if c != "kills"))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2:7], sys.argv[7:])
    else:
        sys.exit(main())
