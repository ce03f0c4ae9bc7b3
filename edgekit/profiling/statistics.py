"""Statistics of launches. One process launch is one observation, however long it ran.

Medians of launches differ by far more than the spread within one (memory layout, clock, noise of
the host), so intervals resample launches first and iterations within them second: a two-level
bootstrap (Davison & Hinkley, Bootstrap Methods and their Application, section 3.8).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
RESAMPLES = 2000


@dataclass(frozen=True)
class Summary:
    """Over all launches, in the samples' unit. `interval`: 95 %, of the median."""

    median: float
    p90: float
    p99: float
    mean: float
    minimum: float
    maximum: float
    interval: tuple[float, float]
    launches: int
    samples: int


@dataclass(frozen=True)
class Ratio:
    """median(a) / median(b) with its 95 % interval; below 1 means a is faster."""

    value: float
    interval: tuple[float, float]
    launches: int


def summarise(launches: Sequence[Sequence[float]]) -> Summary:
    """Raises ValueError without samples. With one launch the interval is that of its iterations
    only, and far too narrow: callers say so."""
    values = np.concatenate([np.asarray(x, float) for x in launches])
    if not values.size:
        raise ValueError("no samples")
    p90, p99 = np.percentile(values, [90, 99])
    return Summary(
        float(np.median(values)),
        float(p90),
        float(p99),
        float(values.mean()),
        float(values.min()),
        float(values.max()),
        _percentiles(bootstrap_medians(launches)),
        len(launches),
        values.size,
    )


def ratio(a: Sequence[Sequence[float]], b: Sequence[Sequence[float]], paired: bool) -> Ratio:
    """`paired`: launch i of a ran next to launch i of b, so they are resampled together."""
    generator = np.random.default_rng(0)
    picks = generator.integers(0, len(a), (RESAMPLES, len(a)))
    other = picks if paired and len(a) == len(b) else generator.integers(0, len(b), (RESAMPLES, len(b)))
    values = bootstrap_medians(a, picks) / bootstrap_medians(b, other)
    flat = [np.concatenate([np.asarray(x, float) for x in side]) for side in (a, b)]
    centre = float(np.median(flat[0]) / np.median(flat[1]))
    return Ratio(centre, _percentiles(values), min(len(a), len(b)))


def bootstrap_medians(launches: Sequence[Sequence[float]], picks: Array | None = None) -> Array:
    """Medians of RESAMPLES two-level resamples. `picks` (RESAMPLES, launches) chooses launches."""
    generator = np.random.default_rng(1)
    groups = [np.asarray(x, float) for x in launches]
    if picks is None:
        picks = generator.integers(0, len(groups), (RESAMPLES, len(groups)))
    lengths = {g.size for g in groups}
    if len(lengths) > 1:
        drawn = ([g[generator.integers(0, g.size, g.size)] for g in (groups[i] for i in pick)] for pick in picks)
        return np.array([np.median(np.concatenate(parts)) for parts in drawn])
    table, (length,) = np.stack(groups), lengths  # as most are; a hundred resamples at once, for the memory's sake
    medians = []
    for some in np.array_split(picks, -(-len(picks) // 100)):
        within = generator.integers(0, length, (*some.shape, length))
        medians.append(np.median(table[some[..., None], within].reshape(len(some), -1), axis=1))
    return np.concatenate(medians)


def _percentiles(values: Array) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
