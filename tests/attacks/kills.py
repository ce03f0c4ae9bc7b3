"""Kills runs of edgekit with SIGKILL, at random moments and at every kind of write, and looks at what is left.

    python -m tests.attacks.kills --kills 100          (`make kills`)
    python -m tests.attacks.kills --only unpack --kills 20 --seed 3

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
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.attacks.killing import child
from tests.attacks.killing.runs import NAME, RUNS, Place, Run, convert, emulated, emulator, profile


def _start(run: Run, place: Place, number: int = 0, delay: float = 0.0) -> subprocess.Popen[bytes]:
    options = [str(place.root), str(number), str(delay), str(place.root / "events.json"), run.exchange]
    with (place.root / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-P", child.__file__, *options, *run.command(place)],
            env=place.environment(),
            stdout=said,
            stderr=said,
            cwd=place.root,
        )


def writes(run: Run, place: Place) -> list[str]:
    """The writes of a run that nothing kills."""
    if code := _start(run, place).wait():
        print((place.root / "said.txt").read_text(encoding="utf-8", errors="replace"))
        raise SystemExit(f"edgekit {' '.join(run.command(place))} fails without a kill: exit code {code}")
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
        process, how = (_start(run, place, number, delay), f"at write {number} of {count} + {delay:.4f} s")
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
        print(f"  {run.name}, killed {how}: {bad} {'stuck' if again_bad else ''} {left[:4]}", flush=True)
    shutil.rmtree(folder)
    return counts


COLUMNS = ("kills", "lost", "half-written", "processes", "stuck", "leftovers")


def kill(runs: Sequence[Run], kills: int, template: Place, work: Path, aimed: float = 0.6) -> dict[str, Counter[str]]:
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


def prepared(root: Path, with_emulator: bool) -> Place:
    """What runs begin with: a package, its cache, its archive, a report, a measurement, a used emulator."""
    template = Place(root)
    _make(template, convert)
    _make(template, profile)
    finish_template(template)
    if with_emulator:
        emulated(template, template)
        _make(template, emulator)
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
    sys.exit(main())
