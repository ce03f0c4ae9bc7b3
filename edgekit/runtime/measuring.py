"""How long to measure, and what one launch measured. Needs nothing but the runtime."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from edgekit.spec import TensorSpec

Array = np.ndarray[Any, Any]
Prepared = TypeVar("Prepared")
Outputs = TypeVar("Outputs")

PHASES = ("prepare", "run", "finish")
_LEAST = 3  # iterations that are measured even when the time is over


@dataclass(frozen=True)
class Effort:
    """How long to measure. `seconds`: of the measured iterations; at least three are made."""

    iterations: int = 50
    warmup: int = 5
    seconds: float = 20.0
    images: tuple[str, ...] = ()  # .npy files, uint8 (H, W, 3) each, for runners of images; none: noise


@dataclass(frozen=True)
class Depth:
    """Tokens written after so many are in the cache."""

    tokens: int
    samples_s: list[float]


@dataclass(frozen=True)
class TextTimings:
    """What a launch measures of a language model besides its tokens after a short prompt. Times in seconds."""

    prompt_tokens: int  # length of the prompts that were read
    prompt_s: list[float]  # reading one prompt each, the cache empty
    depth: int  # tokens in the cache before `deep_s`
    deep_s: list[float]  # a token each; empty where filling the cache would take too long
    depths: list[Depth] = field(default_factory=list)  # on the way to `depth`


@dataclass(frozen=True)
class Timings:
    """What a runner measures in one launch. `samples_s`: by phase, seconds of each iteration."""

    first_run_s: float
    samples_s: dict[str, list[float]]
    text: TextTimings | None = None


def measure_phases(
    prepare: Callable[[], Prepared],
    run: Callable[[], Outputs],
    finish: Callable[[Prepared, Outputs], object],
    effort: Effort,
) -> Timings:
    """Times a model that works in three phases: at least three iterations, then until either limit of `effort`."""
    clock = time.perf_counter
    start = clock()
    finish(prepare(), run())
    first = clock() - start
    end = clock() + effort.seconds
    for _ in range(effort.warmup - 1):
        if clock() > end:
            break
        finish(prepare(), run())
    times: dict[str, list[float]] = {phase: [] for phase in PHASES}
    gc.disable()
    end = clock() + effort.seconds
    try:
        while len(times["run"]) < effort.iterations and (len(times["run"]) < _LEAST or clock() < end):
            t0 = clock()
            prepared = prepare()
            t1 = clock()
            outputs = run()
            t2 = clock()
            finish(prepared, outputs)
            t3 = clock()
            for phase, taken in zip(PHASES, (t1 - t0, t2 - t1, t3 - t2)):
                times[phase].append(taken)
    finally:
        gc.enable()
    return Timings(first, times)


def timed(run: Callable[[], object], effort: Effort) -> list[float]:
    """Seconds of each measured call of `run`: at least three, then until either limit."""
    end = time.perf_counter() + effort.seconds
    for _ in range(effort.warmup):
        run()
        if time.perf_counter() > end:
            break
    samples: list[float] = []
    end = time.perf_counter() + effort.seconds
    while len(samples) < effort.iterations and (len(samples) < _LEAST or time.perf_counter() < end):
        start = time.perf_counter()
        run()
        samples.append(time.perf_counter() - start)
    return samples


def noise(tensor: TensorSpec) -> Array:
    """Values such as a picture has, the same each time: zeros would make some kernels faster."""
    random = np.random.default_rng(0)
    if np.issubdtype(tensor.dtype, np.integer):
        limits = np.iinfo(tensor.dtype)
        return random.integers(max(limits.min, -128), min(limits.max, 255), tensor.shape, tensor.dtype)
    return random.random(tensor.shape, np.float32).astype(tensor.dtype)
