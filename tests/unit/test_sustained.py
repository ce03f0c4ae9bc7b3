"""Where a curve throttles, by the rule that docs/profiling.md states."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.devices.record import Second, launch_from_json, launch_to_json
from edgekit.profiling.sustained import sum_up


def curve(levels: list[float], noise: float = 0.02, seed: int = 0, **sensors: list[float]) -> list[Second]:
    """A point a second; `noise`: relative, and one point in thirty takes twice as long."""
    random = np.random.default_rng(seed)
    times = np.array(levels) * (1 + noise * random.standard_normal(len(levels)))
    times[random.random(len(levels)) < 1 / 30] *= 2
    rows = zip(*sensors.values()) if sensors else [()] * len(levels)
    return [Second(float(i), 50, float(t), dict(zip(sensors, row))) for i, (t, row) in enumerate(zip(times, rows))]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("at", "factor"), [(60, 1.3), (37, 1.1), (100, 2.0), (8, 1.5)])
def test_a_slow_down_is_found_at_its_second(at: int, factor: float, seed: int) -> None:
    found = sum_up(curve([0.010] * at + [0.010 * factor] * (120 - at), seed=seed))
    assert found.throttled_s == pytest.approx(at, abs=1)
    assert found.steady_s == found.throttled_s
    assert found.slowdown == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
def test_noise_is_no_throttling(noise: float, seed: int) -> None:
    found = sum_up(curve([0.010] * 120, noise, seed))
    assert found.throttled_s is None and found.steady_s == 0 and found.slowdown == 1


def test_a_burst_of_other_work_is_none() -> None:
    assert sum_up(curve([0.01] * 50 + [0.02] * 10 + [0.01] * 60)).throttled_s is None


def test_what_becomes_faster_did_not_throttle() -> None:
    assert sum_up(curve([0.02] * 20 + [0.01] * 100)).throttled_s is None


def test_steps_are_followed_to_the_last() -> None:
    found = sum_up(curve([0.010] * 40 + [0.014] * 40 + [0.020] * 60))
    assert found.throttled_s == pytest.approx(40, abs=1) or found.throttled_s == pytest.approx(80, abs=1)
    assert found.steady_s == pytest.approx(80, abs=1)
    assert found.steady_median_s == pytest.approx(0.020, rel=0.02)


def test_what_the_sensors_said() -> None:
    found = sum_up(
        curve([0.01] * 30, hottest_celsius=[50.0 + i for i in range(30)], throttle_events=[3.0] * 20 + [5.0] * 10)
    )
    assert found.hottest_celsius == 79 and found.events == 2
    assert sum_up(curve([0.01] * 30)).events == -1
    with pytest.raises(ValueError, match="points"):
        sum_up([])


def test_a_report_draws_it() -> None:
    from edgekit.report.curve import curve as draw

    points = curve([0.010] * 60 + [0.015] * 60)
    drawn = draw(points, sum_up(points), 1, "a <label>", 340)
    assert drawn.startswith("<svg") and "throttled" in drawn and "a &lt;label&gt;" in drawn
    assert "throttled" not in draw(points[:50], sum_up(points[:50]), 1, "", 560)


def test_a_short_curve_has_no_sides() -> None:
    assert sum_up(curve([0.01] * 4 + [0.05] * 4)).throttled_s is None


def test_curves_survive_json() -> None:
    data = {
        "samples_s": {"run": [0.1]},
        "cold_load_s": 1.0,
        "warm_load_s": 0.5,
        "first_run_s": 0.2,
        "peak_memory_bytes": 1,
        "threads": 1,
        "engine": "e 1",
        "curve": [{"at_s": 0.0, "runs": 3, "median_s": 0.1, "sensors": {"clock_mhz": 1500.0}}],
        "streams": {"copies": 2, "runs": 9, "seconds": 1.5},
    }
    launch = launch_from_json(data)
    assert launch.curve[0].sensors["clock_mhz"] == 1500
    assert launch.streams is not None and launch.streams.copies == 2
    assert launch_from_json(launch_to_json(launch)) == launch
