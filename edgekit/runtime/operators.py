"""Operators: what each one of a package costs, and which part of its engine runs it, as JSON.

    python -P -m edgekit.runtime.operators PACKAGE [--iterations N] [--warmup N] [--seconds S] [--threads N]

For a process of its own: looking inside an engine costs time and memory that no launch should pay.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from statistics import median
from typing import Any

import numpy as np

from edgekit.errors import EdgekitError, UsageError
from edgekit.package import Package
from edgekit.runtime import open_session
from edgekit.runtime.engine import Array, EngineOptions
from edgekit.spec import DetectionSpec, TensorSpec


@dataclass(frozen=True)
class Effort:
    """How long to measure. `seconds`: for the measured runs; at least three are made."""

    runs: int = 50
    warmup: int = 5
    seconds: float = 20.0


@dataclass(frozen=True)
class Operator:
    """`milliseconds`: median over runs, None where the engine does not tell. `merged`: the engine
    computes it together with a neighbour, which has the time, or once for all when it loads."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    placed: str  # the part of the engine that runs it: XNNPACK, CPU, or a provider of ONNX Runtime
    partition: int
    milliseconds: float | None = None
    merged: bool = False


@dataclass(frozen=True)
class Inside:
    """What an engine tells of one package. `operators` in the order they run. `profiled_ms`: a whole
    run while being looked at; `outside_ms`: how much of a run lies in no operator (both medians over
    runs). `note`: what this engine cannot tell, and why."""

    library: str
    delegate: str | None  # what operators are handed to; None when the engine has no such thing
    operators: tuple[Operator, ...]
    partition_ms: tuple[float | None, ...]
    profiled_ms: float | None = None
    outside_ms: float | None = None
    note: str = ""


Lens = Callable[[Package, int, Effort], Inside]  # an engine's `look`, with that many threads


def profile(package: Package, threads: int | None, effort: Effort) -> dict[str, Any]:
    """Everything about the operators of a package. Raises EdgekitError. Times in milliseconds."""
    name = package.manifest.engine.name
    look = _lens(name)
    used, whole = _whole_run(package, threads, effort)
    inside = look(package, used, effort)
    return {
        "package": package.manifest.name,
        "engine": name,
        "library": inside.library,
        "provenance": "measured",
        "threads": used,
        "delegate": inside.delegate,
        "counts": _counts(inside),
        "milliseconds": _sums(inside, whole),
        "partitions": _partitions(inside),
        "operators": [dataclasses.asdict(o) for o in inside.operators],
        "note": inside.note,
    }


def _lens(engine: str) -> Lens:
    for entry in entry_points(group="edgekit.engines", name=engine):
        look: Lens | None = getattr(entry.load(), "look", None)
        if look is not None:
            return look
    raise UsageError(
        f"edgekit cannot look at single operators in the engine {engine}",
        "",
        "use a package for another engine, or profile without --ops",
    )


def noise(tensor: TensorSpec) -> Array:
    """Values such as a picture has, the same each time: zeros would make some kernels faster."""
    random = np.random.default_rng(0)
    if np.issubdtype(tensor.dtype, np.integer):
        limits = np.iinfo(tensor.dtype)
        return random.integers(max(limits.min, -128), min(limits.max, 255), tensor.shape, tensor.dtype)
    return random.random(tensor.shape, np.float32).astype(tensor.dtype)


def timed(run: Any, effort: Effort) -> list[float]:
    """Seconds of each measured call of `run`: at least three, then until either limit."""
    end = time.perf_counter() + effort.seconds
    for _ in range(effort.warmup):
        run()
        if time.perf_counter() > end:
            break
    samples: list[float] = []
    end = time.perf_counter() + effort.seconds
    while len(samples) < effort.runs and (len(samples) < 3 or time.perf_counter() < end):
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return samples


def _whole_run(package: Package, threads: int | None, effort: Effort) -> tuple[int, float]:
    """Threads used, and milliseconds of a run with nobody looking, as the runtime runs it."""
    spec = package.manifest.model_as(DetectionSpec).input
    session = open_session(package, EngineOptions(threads))
    session.input(spec.name)[...] = noise(spec)
    taken = timed(session.run, effort)
    session.close()
    return session.threads, median(taken) * 1e3


def _counts(inside: Inside) -> dict[str, Any]:
    operators, delegate = inside.operators, inside.delegate
    delegated = [o for o in operators if o.placed == delegate]
    left = Counter(o.kind for o in operators if o.placed != delegate)
    return {
        "total": len(operators),
        "placed": dict(Counter(o.placed for o in operators).most_common()),
        "delegated": len(delegated) if delegate else None,
        "partitions": len({o.partition for o in delegated}) if delegate else None,
        "left": dict(left.most_common()) if delegate else None,
    }


def _sums(inside: Inside, whole: float) -> dict[str, float | None]:
    """`run`: whole, nobody looking; `profiled`: whole, while being looked at; `operators`: the sum of
    their medians; `unattributed`: what of a run while being looked at lies in no operator."""
    known = [o.milliseconds for o in inside.operators if o.milliseconds is not None]
    return {
        "run": whole,
        "profiled": inside.profiled_ms,
        "operators": sum(known) if known else None,
        "unattributed": inside.outside_ms,
    }


def _partitions(inside: Inside) -> list[dict[str, Any]]:
    """What one part of the engine runs in one go; milliseconds as for an operator."""
    sizes = Counter(o.partition for o in inside.operators)
    placed = {o.partition: o.placed for o in inside.operators}
    return [{"placed": placed[n], "operators": sizes[n], "milliseconds": inside.partition_ms[n]} for n in sorted(sizes)]


def main(arguments: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="edgekit.runtime.operators")
    parser.add_argument("package")
    parser.add_argument("--iterations", type=int, default=Effort.runs)
    parser.add_argument("--warmup", type=int, default=Effort.warmup)
    parser.add_argument("--seconds", type=float, default=Effort.seconds)
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args(arguments)
    effort = Effort(given.iterations, given.warmup, given.seconds)
    return profile(Package(given.package), given.threads, effort)


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1:])))
    except EdgekitError as error:
        print(json.dumps(error.to_dict()))
        sys.exit(error.exit_code)
