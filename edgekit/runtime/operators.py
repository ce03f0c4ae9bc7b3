"""Operators: what each one of a package costs, and which part of its engine runs it, as JSON.

    python -P -m edgekit.runtime.operators PACKAGE [--iterations N] [--warmup N] [--seconds S] [--threads N]

For a process of its own: looking inside an engine costs time and memory that no launch should pay.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Callable
from statistics import median

from edgekit import registry
from edgekit.errors import EdgekitError, UsageError
from edgekit.package.folder import Package
from edgekit.runtime.engine import EngineOptions, graph_spec
from edgekit.runtime.inside import Inside
from edgekit.runtime.measuring import Effort, noise, timed
from edgekit.runtime.opening import open_session
from edgekit.system.documents import JsonObject

Lens = Callable[[Package, int, Effort], Inside]
"""Looks inside an engine that runs a package with so many threads; in the group `edgekit.operators` by the engine."""


def profile(package: Package, threads: int | None, effort: Effort) -> JsonObject:
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
    if engine not in registry.names("operators"):
        raise UsageError(
            f"edgekit cannot look at single operators in the engine {engine}",
            "",
            "use a package for another engine, or profile without --ops",
        )
    lens: Lens = registry.find("operators", engine)
    return lens


def _whole_run(package: Package, threads: int | None, effort: Effort) -> tuple[int, float]:
    """Threads used, and milliseconds of a run with nobody looking, as the runtime runs it."""
    session = open_session(package, EngineOptions(threads))
    for tensor in graph_spec(package).inputs:
        session.input(tensor.name)[...] = noise(tensor)
    taken = timed(session.run, effort)
    session.close()
    return session.threads, median(taken) * 1e3


def _counts(inside: Inside) -> JsonObject:
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


def _partitions(inside: Inside) -> list[JsonObject]:
    """What one part of the engine runs in one go; milliseconds as for an operator."""
    sizes = Counter(o.partition for o in inside.operators)
    placed = {o.partition: o.placed for o in inside.operators}
    return [{"placed": placed[n], "operators": sizes[n], "milliseconds": inside.partition_ms[n]} for n in sorted(sizes)]


def main(arguments: list[str]) -> JsonObject:
    parser = argparse.ArgumentParser(prog="edgekit.runtime.operators")
    parser.add_argument("package")
    parser.add_argument("--iterations", type=int, default=Effort.iterations)
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
