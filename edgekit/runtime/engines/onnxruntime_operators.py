"""Operators of an ONNX Runtime package, by the library's own session profiling.

The names are those of the graph after ONNX Runtime has optimised it: several nodes of the file may be
one operator here, and there are operators that the file does not have (ReorderInput and the like).
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import median

from edgekit.package.folder import Package
from edgekit.runtime.engine import graph_spec
from edgekit.runtime.engines.libraries import onnxruntime
from edgekit.runtime.inside import Inside, Operator
from edgekit.runtime.measuring import Effort, noise, timed
from edgekit.system.documents import JsonObject

_SUFFIX = "_kernel_time"


def look(package: Package, threads: int, effort: Effort) -> Inside:
    """What each operator of a package costs (`edgekit.runtime.operators`)."""
    ort = onnxruntime()
    feed = {tensor.name: noise(tensor) for tensor in graph_spec(package).inputs}
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "operators")
        artifact = package.read(package.manifest.engine.artifact)
        session = ort.InferenceSession(artifact, settings, providers=["CPUExecutionProvider"])
        taken = timed(lambda: session.run(None, feed), effort)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return read(events, len(taken), f"onnxruntime {ort.__version__}")


def read(events: list[JsonObject], runs: int, library: str) -> Inside:
    """The operators in the last `runs` runs of a profile, in the order they first ran."""
    whole = sorted((e for e in events if e["name"] == "model_run"), key=lambda e: e["ts"])[-runs:]
    nodes = sorted((e for e in events if e["name"].endswith(_SUFFIX)), key=lambda e: e["ts"])
    times: dict[str, list[float]] = {}  # node: milliseconds in each run
    known: dict[str, Operator] = {}
    run = 0
    for event in nodes:
        while run < len(whole) and event["ts"] > whole[run]["ts"] + whole[run]["dur"]:
            run += 1
        if run == len(whole) or event["ts"] < whole[run]["ts"]:
            continue  # of a run to warm up
        key = f"{event['args'].get('node_index')} {event['name']}"
        times.setdefault(key, [0.0] * len(whole))[run] += event["dur"] / 1e3  # a loop repeats nodes
        known.setdefault(key, _operator(event))
    operators: list[Operator] = []
    sums: list[float] = []
    for key, operator in known.items():
        if not operators or operators[-1].placed != operator.placed:
            sums.append(0.0)
        taken = median(times[key])
        operators.append(replace(operator, partition=len(sums) - 1, milliseconds=taken))
        sums[-1] += taken
    outside = [w["dur"] / 1e3 - sum(t[i] for t in times.values()) for i, w in enumerate(whole)]
    profiled = median(w["dur"] for w in whole) / 1e3
    return Inside(library, None, tuple(operators), tuple(sums), profiled, median(outside))


def _operator(event: JsonObject) -> Operator:
    details = event["args"]
    results = [shape for one in details.get("output_type_shape", []) for shape in one.values()]
    name = event["name"].removesuffix(_SUFFIX)
    shape = tuple(int(d) for d in results[0]) if results else None
    return Operator(name, details.get("op_name", ""), shape, details.get("provider", ""), 0)
