"""LiteRT's own profiler, through the C functions that its wheel exports: a .tflite comes on stdin.

    python -P -m edgekit.runtime.engines.litert_events [--runs N] [--warmup N] [--seconds S] [--threads N]

For a process of its own: where a version of the library declares a function or structure otherwise than
those named here, this may die, and nothing else with it. Prints JSON: what was seen, or `unknown` with
the reason. Declarations are those of litert/c/*.h in LiteRT 2.2.
"""

from __future__ import annotations

import argparse
import ctypes as c
import importlib.util
import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.runtime.measuring import Effort, timed

if TYPE_CHECKING:
    from edgekit.system.documents import JsonObject


_FIRST, _BEFORE = (2, 2), (3,)  # versions; earlier ones create models and take options in other ways
_CPU = 1  # LiteRtHwAccelerators
_WRITE = 1  # LiteRtTensorBufferLockMode
_FLOAT32, _UINT8, _INT8 = 1, 3, 9  # LiteRtElementType
_OPERATOR, _DELEGATED = 1 << 1, (1 << 2, 1 << 3)  # LiteRtProfilerEventType
_FILES = ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll", "LiteRt.dll")


class _Event(c.Structure):
    _fields_ = [
        ("tag", c.c_char_p),
        ("type", c.c_int),
        ("start_us", c.c_uint64),
        ("elapsed_us", c.c_uint64),
        ("memory", c.c_size_t * 6),
        ("node", c.c_uint64),
        ("graph", c.c_uint64),
        ("source", c.c_int),
    ]


class _TensorType(c.Structure):
    _fields_ = [("element", c.c_int), ("layout", c.c_uint8 * 68)]


class _Model:
    """A compiled model with its profiler. Nothing is freed: the process ends soon."""

    def __init__(self, library: c.CDLL, model: bytes, threads: int) -> None:
        self._library = library
        # what the library goes on using must outlive this call
        self._kept: list[Any] = [c.create_string_buffer(model, len(model))]
        environment = self._made("CreateEnvironment", c.c_int(0), None)
        self._model = self._made("CreateModelFromBuffer", environment, self._kept[0], c.c_size_t(len(model)))
        options = self._made("CreateOptions")
        self._call("SetOptionsHardwareAccelerators", options, c.c_int(_CPU))
        release = c.CFUNCTYPE(None, c.c_void_p)(lambda _: None)
        self._kept.append(release)
        for name, text in (
            ("runtime_options_string", "enable_profiling = true\n"),
            ("xnnpack", f"num_threads = {threads}\n"),
        ):
            self._kept.append(c.create_string_buffer(text.encode()))
            more = self._made("CreateOpaqueOptions", name.encode(), self._kept[-1], release)
            self._call("AddOpaqueOptions", options, more)
        self._compiled = self._made("CreateCompiledModel", environment, self._model, options)
        self._profiler = self._made("CompiledModelGetProfiler", self._compiled)
        self._signature = self._made("GetModelSignature", self._model, c.c_size_t(0))
        self._inputs = self._buffers(environment, "Input")
        self._outputs = self._buffers(environment, "Output")

    def _call(self, name: str, *arguments: object) -> None:
        function = getattr(self._library, f"LiteRt{name}")
        function.restype = c.c_int
        if status := function(*arguments):
            raise ValueError(f"LiteRt{name} answers {status}")

    def _made(self, name: str, *arguments: object) -> c.c_void_p:
        pointer = c.c_void_p()
        self._call(name, *arguments, c.byref(pointer))
        if not pointer:
            raise ValueError(f"LiteRt{name} gives nothing")
        return pointer

    def _buffers(self, environment: c.c_void_p, kind: str) -> c.Array[c.c_void_p]:
        count = c.c_size_t()
        self._call(f"GetNumSignature{kind}s", self._signature, c.byref(count))
        buffers = (c.c_void_p * count.value)()
        for i in range(count.value):
            at, zero = c.c_size_t(i), c.c_size_t(0)
            needs = self._made(f"GetCompiledModel{kind}BufferRequirements", self._compiled, zero, at)
            tensor = self._made(f"GetSignature{kind}TensorByIndex", self._signature, at)
            type_ = _TensorType()
            self._call("GetRankedTensorType", tensor, c.byref(type_))
            buffer = self._made("CreateManagedTensorBufferFromRequirements", environment, c.byref(type_), needs)
            if kind == "Input":
                self._fill(buffer, type_.element)
            buffers[i] = buffer
        return buffers

    def _fill(self, buffer: c.c_void_p, element: int) -> None:
        """Values such as a picture has: zeros would make some kernels faster."""
        size = c.c_size_t()
        self._call("GetTensorBufferPackedSize", buffer, c.byref(size))
        random = np.random.default_rng(0)
        if element == _FLOAT32:
            values = random.random(size.value // 4, np.float32).tobytes()
        else:
            values = random.bytes(size.value) if element in (_UINT8, _INT8) else bytes(size.value)
        address = c.c_void_p()
        self._call("LockTensorBuffer", buffer, c.byref(address), c.c_int(_WRITE))
        c.memmove(address, values, len(values))
        self._call("UnlockTensorBuffer", buffer)

    def run(self) -> None:
        count_in, count_out = c.c_size_t(len(self._inputs)), c.c_size_t(len(self._outputs))
        self._call("RunCompiledModel", self._compiled, c.c_size_t(0), count_in, self._inputs, count_out, self._outputs)

    def start(self) -> None:
        """Begin to record; forgets what was recorded before."""
        self._call("StartProfiler", self._profiler)

    def events(self) -> list[tuple[str, bool, int, int]]:
        """Of operators, since `start`: name, whether the interpreter's own, node, microseconds."""
        self._call("StopProfiler", self._profiler)
        count = c.c_int()
        self._call("GetNumProfilerEvents", self._profiler, c.byref(count))
        events = (_Event * count.value)()
        self._call("GetProfilerEvents", self._profiler, count, events)
        return [
            (e.tag.decode(errors="replace"), e.type == _OPERATOR, e.node, e.elapsed_us)
            for e in events
            if e.type == _OPERATOR or e.type in _DELEGATED
        ]


def look(model: bytes, threads: int, effort: Effort) -> JsonObject:
    """Median milliseconds of each event, and of a whole run. Raises ValueError where unknown."""
    compiled = _Model(_open(), model, threads)
    profiles: list[list[tuple[str, bool, int, int]]] = []

    whole: list[float] = []

    def run() -> None:
        compiled.start()
        start = time.perf_counter()
        compiled.run()
        whole.append(time.perf_counter() - start)
        profiles.append(compiled.events())

    taken = timed(run, effort)
    del whole[: -len(taken)], profiles[: -len(taken)]  # those to warm up
    if not profiles[0] or any([e[:3] for e in s] != [e[:3] for e in profiles[0]] for s in profiles):
        raise ValueError("its profiler tells something else each time")
    outside = [run * 1e3 - sum(e[3] for e in s) / 1e3 for run, s in zip(whole, profiles)]
    return {
        "run_ms": median(whole) * 1e3,
        "outside_ms": median(outside),
        "events": [(*each[0][:3], median(e[3] for e in each) / 1e3) for each in zip(*profiles)],
    }


def _open() -> c.CDLL:
    try:
        numbers = tuple(int(p) for p in version("ai-edge-litert").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        raise ValueError("that takes ai-edge-litert 2.2 or later") from None
    if not _FIRST <= numbers < _BEFORE:
        raise ValueError("that takes ai-edge-litert 2.2 or later, before 3")
    spec = importlib.util.find_spec("ai_edge_litert")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in _FILES:
            if (path := Path(folder) / name).exists():
                return c.CDLL(str(path))
    raise ValueError("this build comes without its C library")


def main(arguments: list[str]) -> JsonObject:
    parser = argparse.ArgumentParser(prog="edgekit.runtime.engines.litert_events")
    parser.add_argument("--runs", type=int, default=Effort.iterations)
    parser.add_argument("--warmup", type=int, default=Effort.warmup)
    parser.add_argument("--seconds", type=float, default=Effort.seconds)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    model = sys.stdin.buffer.read()
    return look(model, given.threads, Effort(given.runs, given.warmup, given.seconds))


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1:])))
    except (AttributeError, OSError, ValueError) as error:  # a function or a file that is not there
        print(json.dumps({"unknown": str(error)}))
