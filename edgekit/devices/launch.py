"""One launch: load a package in this fresh process, run it, print what was seen as JSON.

    python -P -m edgekit.devices.launch PACKAGE [--iterations N] [--warmup N] [--seconds S] [--threads N]

The profiler starts it many times; it needs nothing but the runtime, so it runs on any device. It
lies outside `edgekit.runtime`, so that importing the runtime falls into the cold start it times.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PHASES = ("prepare", "run", "finish")


def main(arguments: list[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser(prog="edgekit.devices.launch")
    parser.add_argument("package")
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args(arguments)
    evicted = evict(Path(options.package))
    start = time.perf_counter()
    from edgekit.package import Package
    from edgekit.runtime import load  # the import is part of a cold start
    from edgekit.runtime.room import bound_memory

    package = Package(options.package)
    bound_memory(package)
    model = load(package, options.threads)
    cold = time.perf_counter() - start
    if hasattr(model, "stream"):
        from edgekit.runtime.text.timing import measure_text

        seen = measure_text(model, options.iterations, options.warmup, options.seconds)
    else:
        seen = _detect(model, options)
    peak, threads = peak_memory(), model.session.threads
    model.close()  # two copies of a language model may not fit
    del model
    start = time.perf_counter()
    load(options.package, options.threads).close()
    warm = time.perf_counter() - start
    return {
        **seen,
        "cold_load_s": cold,
        "cold_is_cold": evicted,
        "warm_load_s": warm,
        "peak_memory_bytes": peak,
        "threads": threads,
        "engine": engine_version(),
    }


def _detect(detector: Any, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    # noise of a camera's size: the resize is real work, and no boxes means the least suppression
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    start = time.perf_counter()
    detector(image)
    first = time.perf_counter() - start
    warm_by = time.perf_counter() + options.seconds
    for _ in range(options.warmup - 1):
        if time.perf_counter() > warm_by:
            break
        detector(image)
    samples = measure(detector, image, options.iterations, options.seconds)
    return {"first_run_s": first, "samples_s": samples}


def measure(detector: Any, image: Any, iterations: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of each phase for each iteration; at least three, then until either limit."""
    times: dict[str, list[float]] = {phase: [] for phase in PHASES}
    clock = time.perf_counter
    gc.disable()
    end = clock() + seconds
    try:
        while len(times["run"]) < iterations and (len(times["run"]) < 3 or clock() < end):
            t0 = clock()
            placement = detector.prepare(image)
            t1 = clock()
            outputs = detector.run()
            t2 = clock()
            detector.postprocess(outputs, placement, image.shape[:2])
            t3 = clock()
            for phase, taken in zip(PHASES, (t1 - t0, t2 - t1, t3 - t2)):
                times[phase].append(taken)
    finally:
        gc.enable()
    return times


def evict(package: Path) -> bool:
    """Ask the kernel to forget the package's files, so that a cold load reads the disk."""
    if not hasattr(os, "posix_fadvise"):
        return False
    files = [p for p in package.rglob("*") if p.is_file()] if package.is_dir() else [package]
    for path in files:
        with path.open("rb") as file:
            os.fsync(file.fileno())  # pages that wait to be written are not forgotten
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return True


def peak_memory() -> int:
    """Peak resident memory of this process in bytes; 0 where the system does not say."""
    status = Path("/proc/self/status")  # getrusage would count the parent from before exec
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def engine_version() -> str:
    """The library that ran the package, as its distribution names it."""
    from importlib.metadata import PackageNotFoundError, version

    for module in ("onnxruntime_genai", "onnxruntime", "ai_edge_litert", "tflite_runtime"):
        if module in sys.modules:
            name = module.replace("_", "-")
            try:
                return f"{name} {version(name)}"
            except PackageNotFoundError:  # a nightly build goes by another name
                return name
    return ""


if __name__ == "__main__":
    from edgekit.errors import EdgekitError

    try:
        print(json.dumps(main(sys.argv[1:])))
    except EdgekitError as error:
        print(json.dumps(error.to_dict()))
        sys.exit(error.exit_code)
