"""A curve of latency over minutes: where it throttled, and what it is like once it is steady.

The rule. A curve is cut where its two sides fit best, each by its own median (least absolute deviations). The cut is a
throttling point when the later side's median is at least 5 % above the earlier one's, and nine of ten later points lie
above the earlier median: a burst of other work is none. What comes after is looked at in the same way, so that a curve
that falls in steps is followed to its last one; from there on it is steady.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.devices.record import Second

SLOWER = 1.05
MOST_OF = 0.9
_LEAST = 5  # points on either side of a cut


@dataclass(frozen=True)
class Sustained:
    """Times in seconds. `throttled_s`: since the start, None where it did not; `steady_s`: from when on it is steady."""

    length_s: float
    fresh_median_s: float  # before the first throttling point
    steady_median_s: float
    steady_s: float
    throttled_s: float | None
    hottest_celsius: float | None
    events: int  # that the processor counted as throttling; -1 where it counts none

    @property
    def slowdown(self) -> float:
        return self.steady_median_s / self.fresh_median_s


def sum_up(curve: Sequence[Second]) -> Sustained:
    """Raises ValueError for an empty curve."""
    if not curve:
        raise ValueError("a curve without points")
    times = np.array([point.median_s for point in curve])
    cuts = _cuts(times)
    start = cuts[-1] if cuts else 0
    heat = [p.sensors["hottest_celsius"] for p in curve if "hottest_celsius" in p.sensors]
    counts = [p.sensors["throttle_events"] for p in curve if "throttle_events" in p.sensors]
    return Sustained(
        length_s=curve[-1].at_s + curve[-1].runs * curve[-1].median_s,
        fresh_median_s=float(np.median(times[: cuts[0]] if cuts else times)),
        steady_median_s=float(np.median(times[start:])),
        steady_s=curve[start].at_s,
        throttled_s=curve[cuts[0]].at_s if cuts else None,
        hottest_celsius=max(heat) if heat else None,
        events=int(counts[-1] - counts[0]) if counts else -1,
    )


def _cuts(times: np.ndarray) -> list[int]:
    """Indices where throttling begins, first to last."""
    found: list[int] = []
    start = 0
    while (cut := _best_cut(times[start:])) is not None:
        before, after = times[start : start + cut], times[start + cut :]
        level = float(np.median(before))
        if np.median(after) < SLOWER * level or np.mean(after > level) < MOST_OF:
            break
        start += cut
        found.append(start)
    return found


def _best_cut(times: np.ndarray) -> int | None:
    """Where two medians fit best; None where there are too few points for two sides."""
    places = range(_LEAST, len(times) - _LEAST + 1)
    if not places:
        return None
    return min(places, key=lambda n: _deviation(times[:n]) + _deviation(times[n:]))


def _deviation(times: np.ndarray) -> float:
    return float(np.abs(times - np.median(times)).sum())
