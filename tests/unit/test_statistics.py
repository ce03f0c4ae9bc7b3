"""The profiler's statistics: launches, not iterations, carry the uncertainty."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.profiling.statistics import ratio, summarise


def launches(spread: float, count: int, seed: int) -> list[list[float]]:
    """Launches whose own means differ by `spread`, each very steady: what real machines do."""
    random = np.random.default_rng(seed)
    return [(10 + spread * random.standard_normal() + 0.01 * random.standard_normal(50)).tolist() for _ in range(count)]


@pytest.mark.slow
def test_the_interval_covers_the_spread_between_launches() -> None:
    covered = 0
    for seed in range(100):
        low, high = summarise(launches(1.0, 8, seed)).interval
        covered += low <= 10 <= high
    assert covered >= 85  # 95 % in the long run; resampling 8 launches is a little narrow


def test_one_steady_launch_does_not_promise_the_next() -> None:
    pooled = [[x for launch in launches(1.0, 8, 3) for x in launch]]
    wide, narrow = summarise(launches(1.0, 8, 3)).interval, summarise(pooled).interval
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_percentiles_are_of_all_samples() -> None:
    summary = summarise([[1, 2, 3], [4, 5, 100]])
    assert (summary.median, summary.minimum, summary.maximum, summary.samples) == (3.5, 1, 100, 6)


def test_pairing_removes_what_both_share() -> None:
    random = np.random.default_rng(0)
    drift = 3 * random.random(10)
    a = [(10 + d + 0.01 * random.standard_normal(30)).tolist() for d in drift]
    b = [(8 + d + 0.01 * random.standard_normal(30)).tolist() for d in drift]
    paired, unpaired = ratio(a, b, True), ratio(a, b, False)
    assert paired.interval[1] - paired.interval[0] < unpaired.interval[1] - unpaired.interval[0]
    assert paired.interval[0] > 1


def test_equal_things_are_not_told_apart() -> None:
    low, high = ratio(launches(1.0, 8, 1), launches(1.0, 8, 2), False).interval
    assert low < 1 < high


def test_no_samples_is_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarise([[]])
