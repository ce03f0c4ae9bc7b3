"""Launches beyond single runs: without a pause for minutes, and several copies at once. Runs on the device."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from edgekit.devices.record import Second, Streams
from edgekit.devices.sensors import readings
from edgekit.errors import UsageError
from edgekit.runtime.measuring import Effort
from edgekit.runtime.runner import Runner

_ROUND_S = 1.0  # one point of the curve


def sustain(model: Runner, seconds: float, images: tuple[str, ...]) -> list[Second]:
    """The model runs for `seconds` without a pause: a row about each second, with what the sensors said at its end."""
    rows: list[Second] = []
    start = time.perf_counter()
    while (at := time.perf_counter() - start) < seconds:
        samples = model.measure(Effort(10**9, 1, min(_ROUND_S, seconds - at), images)).samples_s["run"]
        rows.append(Second(at, len(samples), median(samples), readings()))
    return rows


def run_streams(open_model: Callable[[], Runner], copies: int, seconds: float, images: tuple[str, ...]) -> Streams:
    """`copies` of a model, each in a thread of its own, all measured for `seconds` from the same moment on."""
    models = [open_model() for _ in range(copies)]
    together = threading.Barrier(copies)
    counts = [0] * copies
    times = [0.0] * copies
    errors: list[BaseException] = []

    def run(index: int) -> None:
        try:
            models[index].measure(Effort(1, 1, seconds, images))  # what is done once is done
            together.wait()
            start = time.perf_counter()
            samples = models[index].measure(Effort(10**9, 1, seconds, images)).samples_s["run"]
            counts[index], times[index] = len(samples), time.perf_counter() - start
        except BaseException as error:
            errors.append(error)
            together.abort()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(copies)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        model.close()
    if errors:
        raise errors[0]
    return Streams(copies, sum(counts), max(times))


def image_files(folder: str) -> tuple[str, ...]:
    """The arrays in a folder, by name. Raises UsageError for a folder without any."""
    if not folder:
        return ()
    files: Sequence[Path] = sorted(Path(folder).glob("*.npy"))
    if not files:
        raise UsageError(f"There are no arrays in {folder}", "", "name a folder of .npy files")
    return tuple(str(f) for f in files)
