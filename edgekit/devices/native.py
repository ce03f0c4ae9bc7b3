"""Benchmark programs for phones, which have no Python: how each is called, and what it prints.

`benchmark_model` is TFLite's and LiteRT's, `onnxruntime_perf_test` is ONNX Runtime's. The user builds or downloads one; edgekit brings
none. They time the engine alone, on noise of their own.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from edgekit.devices.base import Plan
from edgekit.devices.record import Launch
from edgekit.errors import DeviceError, UsageError

_NUMBER = r"(\d{1,15}(?:\.\d{1,15})?(?:e[+-]?\d{1,2})?)"  # C++ writes 1.5e+06 for what has more than six digits
_MOST_ROWS = 10**6


@dataclass(frozen=True)
class Call:
    """Paths on the phone. `results`: where a program may write; "" for one that only prints."""

    binary: str
    model: str
    results: str
    plan: Plan
    threads: int


class Tool(Protocol):
    name: str
    writes: bool  # whether its samples are in `Call.results`
    stops: bool  # whether it ends by itself once `Plan.seconds` are over

    def words(self, call: Call) -> list[str]:
        """The command."""
        ...

    def launch(self, printed: str, results: str, call: Call) -> Launch:
        """From what it printed and wrote. Raises ValueError for what is not its own."""
        ...


class BenchmarkModel:
    """That of TFLite or of LiteRT. It sums its runs up, so that a launch has one sample: their median, of an older one
    their mean."""

    name = "benchmark_model"
    writes, stops = False, True

    def words(self, call: Call) -> list[str]:
        plan = call.plan
        return [
            call.binary,
            f"--graph={call.model}",
            f"--num_threads={call.threads}",
            f"--num_runs={plan.iterations}",
            f"--max_secs={plan.seconds:g}",
            "--min_secs=0",  # as many runs as were asked for, not a second of them
            f"--warmup_runs={max(plan.warmup, 1)}",  # the first of which is its first inference
            "--warmup_min_secs=0",
            "--use_xnnpack=true",  # as LiteRT has it elsewhere; a flag that it does not know is left alone
            "--report_peak_memory_footprint=true",
        ]

    def launch(self, printed: str, results: str, call: Call) -> Launch:
        init, first, mean = _of_litert(printed) or _of_tflite(printed)
        runs = re.findall(r"\bcount=(\d{1,9}) ([^\n]{1,300})", printed)  # the warm-up's, then those that count
        count, rest = runs[-1] if len(runs) > 1 else ("", "")
        middle = re.search(rf"\bmedian={_NUMBER}", rest)
        peak = re.search(rf"(?:Peak memory: +|Overall peak memory footprint \(MB\) via .{{1,40}}: ){_NUMBER}", printed)
        what = f"the {'median' if middle else 'mean'} of its {count + ' ' if count else ''}runs"
        sample = float(middle[1]) / 1e6 if middle else mean
        if not sample:
            raise ValueError("it measured no runs")
        return Launch(
            {"run": [sample]},
            cold_load_s=init,
            warm_load_s=0.0,
            first_run_s=first,
            peak_memory_bytes=int(float(peak[1]) * 2**20) if peak else 0,
            threads=call.threads,
            engine=f"{self.name} (one sample a launch: {what})",
            cold_is_cold=False,  # the files may lie in memory since they were sent
        )


def _of_litert(printed: str) -> tuple[float, float, float] | None:
    """Seconds to load, of the first run, and of a run on average, from a summary in ms. None where there is none."""
    names = ("Model initialization", r"Warmup \(first\)", r"Inference \(avg\)")
    found = [re.search(rf"{name}: +{_NUMBER} ms", printed) for name in names]
    init, first, mean = (float(f[1]) / 1e3 if f else -1.0 for f in found)
    return (init, first, mean) if min(init, first, mean) >= 0 else None


def _of_tflite(printed: str) -> tuple[float, float, float]:
    """The same from a line in µs. Raises ValueError without it."""
    found = re.search(
        rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, "
        rf"Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}",
        printed,
    )
    if not found:
        raise ValueError("it printed no timings")
    init, first, _, mean = (float(value) / 1e6 for value in found.groups())
    return init, first, mean


class PerfTest:
    """ONNX Runtime's. It writes a row for each run. It warms up with one run only: more are asked for, and dropped."""

    name = "onnxruntime_perf_test"
    writes, stops = True, False

    def words(self, call: Call) -> list[str]:
        runs = ["-m", "times", "-r", str(call.plan.iterations + _more_warmup(call.plan))]
        return [call.binary, "-I", "-e", "cpu", "-o", "99", "-x", str(call.threads), *runs, call.model, call.results]

    def launch(self, printed: str, results: str, call: Call) -> Launch:
        # model, seconds, peak memory in bytes, CPU usage in percent, number of the run; statistics may follow
        rows = [row for row in csv.reader(io.StringIO(results)) if len(row) == 5][_more_warmup(call.plan) : _MOST_ROWS]
        samples = [float(row[1]) for row in rows]
        if not samples or not all(0 < s < 3600 for s in samples):
            raise ValueError("it wrote no samples")
        loading = re.search(rf"Session creation time cost: {_NUMBER} s", printed)
        first = re.search(rf"First inference time cost: {_NUMBER} ms", printed)
        return Launch(
            {"run": samples},
            cold_load_s=float(loading[1]) if loading else 0.0,
            warm_load_s=0.0,
            first_run_s=float(first[1]) / 1e3 if first else 0.0,
            peak_memory_bytes=max(min(int(row[2]), 2**50) for row in rows),
            threads=call.threads,
            engine=self.name,
            cold_is_cold=False,
        )


def _more_warmup(plan: Plan) -> int:
    """Runs beside the one that warms up in any case."""
    return max(plan.warmup - 1, 0)


TOOLS: Mapping[str, Tool] = {"litert": BenchmarkModel(), "onnxruntime": PerfTest()}  # by engine


def tool_for(engine: str, package: str) -> Tool:
    """Raises UsageError for packages that no benchmark program runs."""
    if engine not in TOOLS:
        raise UsageError(
            f"{package} cannot be measured over adb",
            f"benchmark programs for phones run packages of {' and '.join(TOOLS)}; it is one of {engine}, which needs "
            "Python, and a phone's shell has none",
            "in Termux on the phone: pkg install openssh python, start sshd, and measure with -d ssh:HOST:8022",
        )
    return TOOLS[engine]


def failure(tool: Tool, place: str, code: int, printed: str) -> DeviceError:
    """For a program that ended without timings."""
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    told = next((line for line in reversed(lines) if re.search(r"error|fail|cannot|not found", line, re.I)), "")
    why = (told or (lines or [f"exit code {code}"])[-1])[:300]
    if code == 137:
        why = f"it was killed: the phone may lack the memory ({why})"
    return DeviceError(f"{tool.name} on {place} gave no timings", why, "run it there by hand: adb shell")
