"""Operators of a TFLite package: which of them XNNPACK runs, and how long each one takes.

Once its tensors are allocated, an interpreter lists the nodes of the file and after them one node
DELEGATE for each partition that XNNPACK took over, with what goes in and what comes out. An operator
belongs to the partition in which one can walk to it from what comes out, against the flow of data.
Times come from another process (`litert_events`): where that fails, placement is still told.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from types import ModuleType
from typing import Any

from edgekit.errors import EdgekitError
from edgekit.package.folder import Package
from edgekit.runtime.engines.libraries import litert, quiet
from edgekit.runtime.engines.litert_attribution import Event, attribute
from edgekit.runtime.inside import Inside, Operator
from edgekit.runtime.measuring import Effort
from edgekit.system.documents import JsonObject
from edgekit.system.tether import tied

DELEGATE = "XNNPACK"
_CPU = "CPU"
_Details = dict[str, Any]  # what an interpreter says of a node or of a tensor


@dataclass(frozen=True)
class Delegation:
    """How many operators XNNPACK takes over on this machine. `left`: how many of each kind it does
    not; the interpreter's own kernels compute those."""

    total: int
    delegated: int
    partitions: int
    left: dict[str, int]


def delegation(model: bytes) -> Delegation | None:
    """What becomes of the operators of a .tflite file; None where the library does not tell."""
    try:
        library = litert()
    except EdgekitError:
        return None
    arrangement = arrange(library, model, 1)
    if arrangement is None:
        return None
    left = Counter(o.kind for o in arrangement.operators if o.placed != DELEGATE)
    parts = {o.partition for o in arrangement.operators if o.placed == DELEGATE}
    total = len(arrangement.operators)
    return Delegation(total, total - left.total(), len(parts), dict(left.most_common()))


@dataclass(frozen=True)
class Arrangement:
    """Operators in the order they run. `nodes`: the index of each in the file."""

    operators: tuple[Operator, ...]
    nodes: tuple[int, ...]


def arrange(library: ModuleType, model: bytes, threads: int) -> Arrangement | None:
    """Places operators as an interpreter does. The calls used are not all public: None when one of
    them is gone, or does not answer as it does in the versions known."""
    try:
        with quiet():
            interpreter = library.Interpreter(model_content=model, num_threads=threads)
            interpreter.allocate_tensors()
        listed = interpreter._get_ops_details()
        tensors = {int(t["index"]): t for t in interpreter.get_tensor_details()}
        own = {int(n["index"]): n for n in listed if n["op_name"] != "DELEGATE"}
        return _arrange(own, [n for n in listed if n["op_name"] == "DELEGATE"], tensors)
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError):
        return None


def _arrange(own: dict[int, _Details], delegates: list[_Details], tensors: dict[int, _Details]) -> Arrangement | None:
    maker = {int(t): index for index, node in own.items() for t in node["outputs"]}
    within: dict[int, int] = {}  # node: its delegate
    for number, delegate in enumerate(delegates):
        stop, todo = {int(t) for t in delegate["inputs"]}, [int(t) for t in delegate["outputs"]]
        while todo:
            tensor = todo.pop()
            node = maker.get(tensor)
            if tensor not in stop and node is not None and node not in within:
                within[node] = number
                todo += [int(t) for t in own[node]["inputs"]]
    if set(within.values()) != set(range(len(delegates))):
        return None  # a partition without operators: this library lists them in some other way
    groups: dict[tuple[int, bool], list[int]] = {}  # what runs in one go: a delegate, or one operator
    for index in own:
        group = (within[index], True) if index in within else (index, False)
        groups.setdefault(group, []).append(index)
    operators, order = [], []
    waiting, available, partition, before = list(groups.values()), set[int](), -1, ""
    while waiting:  # a partition runs when all that goes into it is there
        ready = next((g for g in waiting if _ready(g, own, maker, available)), None)
        if ready is None:
            return None
        waiting.remove(ready)
        available.update(ready)
        placed = DELEGATE if ready[0] in within else _CPU
        partition += placed == DELEGATE or before != placed
        before = placed
        for index in ready:
            result = tensors.get(int(own[index]["outputs"][0]), {})
            shape = tuple(int(d) for d in result["shape"]) if "shape" in result else None
            kind = str(own[index]["op_name"])
            operators.append(Operator(str(result.get("name", "")), kind, shape, placed, partition))
            order.append(index)
    return Arrangement(tuple(operators), tuple(order))


def _ready(group: list[int], own: dict[int, _Details], maker: dict[int, int], available: set[int]) -> bool:
    inside = available.union(group)
    needed = (maker.get(int(t)) for index in group for t in own[index]["inputs"])
    return all(node is None or node in inside for node in needed)


def look(package: Package, threads: int, effort: Effort) -> Inside:
    library = litert()
    name = library.__name__.split(".")[0].replace("_", "-")
    label = f"{name} {version(name)}"
    model = package.read(package.manifest.engine.artifact)
    arrangement = arrange(library, model, threads)
    if arrangement is None:
        return Inside(label, None, (), (), note=f"{label} does not tell its operators")
    silent = Inside(label, DELEGATE, arrangement.operators, (None,) * _partitions(arrangement))
    try:
        profile = _events(model, threads, effort)
    except ValueError as error:
        return replace(silent, note=f"{label} does not tell the time of each operator: {error}")
    events = [Event(*e) for e in profile["events"]]
    done = attribute(arrangement.operators, arrangement.nodes, events)
    if done is None:
        return replace(silent, note=f"{label} profiles operators that are placed in another way")
    operators, lost = done
    outside = profile["outside_ms"] + lost
    sums = [0.0] * _partitions(arrangement)
    for operator in operators:
        sums[operator.partition] += operator.milliseconds or 0.0
    return Inside(label, DELEGATE, operators, tuple(sums), profile["run_ms"], outside)


def _partitions(arrangement: Arrangement) -> int:
    return max((o.partition for o in arrangement.operators), default=-1) + 1


def _events(model: bytes, threads: int, effort: Effort) -> JsonObject:
    """What the library's profiler saw. Raises ValueError with what is known of why it saw nothing."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "edgekit.runtime.engines.litert_events",
        "--threads",
        str(threads),
        "--runs",
        str(effort.iterations),
        "--warmup",
        str(effort.warmup),
        "--seconds",
        str(effort.seconds),
    ]
    process = subprocess.run(tied(command), input=model, capture_output=True)
    try:
        profile: JsonObject = json.loads(process.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        raise ValueError(f"its profiler died with exit code {process.returncode}") from None
    if "unknown" in profile:
        raise ValueError(profile["unknown"])
    return profile
