"""One launch: load a package in this fresh process, run it, print what was seen as JSON.

    python -P -m edgekit.devices.launch PACKAGE [--iterations N] [--warmup N] [--seconds S] [--threads N]
        [--images FOLDER] [--sustained S] [--streams N]

The profiler starts it many times; it needs nothing but the runtime, so it runs on any device. It
lies outside `edgekit.runtime`, so that importing the runtime falls into the cold start it times.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.system.documents import JsonObject


def main(arguments: list[str]) -> JsonObject:
    parser = argparse.ArgumentParser(prog="edgekit.devices.launch")
    parser.add_argument("package")
    parser.add_argument("--iterations", type=int, default=50)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--images", default="")
    parser.add_argument("--sustained", type=float, default=0.0)
    parser.add_argument("--streams", type=int, default=1)
    options = parser.parse_args(arguments)
    from edgekit import __version__
    from edgekit.spec import to_json

    evicted = evict(Path(options.package))
    start = time.perf_counter()
    from edgekit.package import Package
    from edgekit.runtime import load  # the import is part of a cold start
    from edgekit.runtime.room import bound_memory

    package = Package(options.package)
    bound_memory(package)
    model = load(package, options.threads)
    cold = time.perf_counter() - start
    from edgekit.devices.endurance import image_files, run_streams, sustain
    from edgekit.runtime.measuring import Effort

    images = image_files(options.images)
    timings = model.measure(Effort(options.iterations, options.warmup, options.seconds, images))
    steady, shared = memory_now()
    peak, threads = peak_memory(), model.threads
    curve = sustain(model, options.sustained, images) if options.sustained else []
    model.close()  # two copies of a language model may not fit
    del model
    start = time.perf_counter()
    load(options.package, options.threads).close()
    warm = time.perf_counter() - start
    streams = None
    if options.streams > 1:
        streams = run_streams(lambda: load(package, threads), options.streams, options.seconds, images)
    text = {"text": to_json(timings.text)} if timings.text else {}
    return {
        "first_run_s": timings.first_run_s,
        "samples_s": timings.samples_s,
        **text,
        "cold_load_s": cold,
        "cold_is_cold": evicted,
        "warm_load_s": warm,
        "peak_memory_bytes": peak,
        "threads": threads,
        "steady_memory_bytes": steady,
        "shared_memory_bytes": shared,
        "curve": to_json(curve),
        "streams": to_json(streams),
        "images": len(images),
        "edgekit": __version__,
        "engine": engine_version(package.manifest.engine.name),
    }


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


def memory_now() -> tuple[int, int]:
    """Resident bytes of this process now, and what of them is its own where pages are shared (PSS); 0 where the system
    does not say."""
    found = {}
    try:
        for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name in ("Rss", "Pss"):
                found[name] = int(value.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return found.get("Rss", 0), found.get("Pss", 0)


def engine_version(engine: str) -> str:
    """The library that ran the package, as its distribution names it; "" where the engine names none."""
    from importlib.metadata import PackageNotFoundError, version

    from edgekit.runtime.opening import engine_named

    for name in engine_named(engine).libraries:
        if name.replace("-", "_") in sys.modules:
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
