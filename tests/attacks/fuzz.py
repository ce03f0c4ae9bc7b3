"""Changed and hostile inputs for everything that reads a stranger's file or words.

    make fuzz                                                    # a minute a reader
    python -m tests.attacks.fuzz --reader gguf --seconds 600
    python -m tests.attacks.fuzz --reader gguf --seed 1 --case 17   # one case again

Right are two ends: the input is accepted, or refused with one clear error. Each other end (code run, a signal,
a traceback, no end, memory without bounds, a file elsewhere, …) is a failure, whose input is kept. Linux only.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.attacks.fuzzing import folders, given, models, packaged, pictures
from tests.attacks.fuzzing.case import Reader
from tests.attacks.fuzzing.judging import ACCEPTED, FAILURES, REFUSED
from tests.attacks.fuzzing.runner import Finding, Runner

READERS: dict[str, Reader] = {
    **models.READERS,
    **folders.READERS,
    **packaged.READERS,
    **pictures.READERS,
    **given.READERS,
}
_COLUMNS = (ACCEPTED, REFUSED, *FAILURES)


# What needs no language model, whose honest inputs take half a minute to make.
QUICK = (
    "checkpoint",
    "safetensors",
    "onnx",
    "onnx-external",
    "exported-program",
    "package-files",
    "package-onnx",
    "package-tflite",
    "edgepkg",
    "image",
    "coco",
    "yolo",
    "target",
    "settings",
    "client-ini",
    "results",
)


def make_seeds(folder: Path, language: bool) -> None:
    """Honest inputs, made in a process of its own unless they are there."""
    if (folder / "store.sqlite").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "tests.attacks.fuzzing.seeds", str(folder), *["language"] * language]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def fuzz(runner: Runner, name: str, seconds: float, cases: int | None) -> list[Finding]:
    """One reader for so long, or for so many cases."""
    end, found = time.monotonic() + seconds, []
    for index in itertools.count() if cases is None else range(cases):
        if cases is None and time.monotonic() > end:
            break
        finding = runner.run(name, READERS[name], index)
        if finding.outcome.failed:
            print(
                f"  {name} {index} {finding.case.note}: {finding.outcome.kind}: {finding.outcome.detail.strip()[-300:]!a}",
                flush=True,
            )
        found.append(finding)
    return found


def line(name: str, counts: Counter[str], slowest: float) -> str:
    return (
        f"{name:18}{sum(counts.values()):7}"
        + "".join(f"{counts[c] or '-':>10}" for c in _COLUMNS)
        + f"{slowest:9.1f} s"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="for each reader")
    parser.add_argument("--cases", type=int, help="for each reader, in place of --seconds")
    parser.add_argument("--case", type=int, help="only this one")
    parser.add_argument("--reader", action="append", choices=sorted(READERS), help="default: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=Path("build/fuzz"), help="folder for inputs that failed")
    parser.add_argument("--inputs", type=Path, help="folder for honest inputs, to make them once")
    asked = parser.parse_args()
    names = asked.reader or list(READERS)
    with tempfile.TemporaryDirectory(prefix="edgekit-fuzz-") as folder:
        root = Path(folder).resolve()
        seeds = (asked.inputs or root / "seeds").resolve()
        make_seeds(seeds, not set(names) <= set(QUICK))
        runner = Runner(root / "cases", seeds, asked.keep.resolve(), asked.seed)
        runner.warm()
        if asked.case is not None:
            for name in names:
                finding = runner.run(name, READERS[name], asked.case)
                print(f"{name} {asked.case} {finding.case.note}: {finding.outcome.kind}\n{finding.outcome.detail}")
            return 0
        print(f"{'reader':18}{'cases':>7}" + "".join(f"{c:>10}" for c in _COLUMNS) + f"{'slowest':>11}", flush=True)
        total: Counter[str] = Counter()
        slowest = 0.0
        for name in names:
            found = fuzz(runner, name, asked.seconds, asked.cases)
            counts = Counter(f.outcome.kind for f in found)
            longest = max((f.seconds for f in found), default=0.0)
            print(line(name, counts, longest), flush=True)
            total, slowest = total + counts, max(slowest, longest)
        print(line("all", total, slowest))
    failures = sum(total[kind] for kind in FAILURES)
    if failures:
        print(f"{failures} failed; their inputs and how to repeat them: {asked.keep}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
