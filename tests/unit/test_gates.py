"""Gates act on whole intervals: good, worse, or it cannot be told."""

from __future__ import annotations

import pytest

from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.spec import Precision
from edgekit.target import find_target
from edgekit.tasks.detection.trips import Tolerated, accuracy_unclear, images_needed
from edgekit.tasks.speed import slowest


def drop(value: float, low: float, high: float, images: int = 48) -> Measurement:
    return Measurement("accuracy", "mAP50-95 drop", value, "1", Provenance.MEASURED, images, (low, high))


def test_it_says_how_many_images_would_tell() -> None:
    trip = accuracy_unclear(drop(0.0084, -0.0055, 0.0247), Tolerated(find_target("cpu"), 0.005))
    assert "cannot be told" in trip.message
    assert "some 950 images" in trip.message  # 48 x (1.51 / 0.34)^2 = 947


@pytest.mark.parametrize("value", [0.0084, 0.02, -0.01, 0.0051])
def test_with_so_many_images_it_can_be_told(value: float) -> None:
    """Intervals shrink with the root of the number of images."""
    images, limit = 48, 0.005
    needed = images_needed(drop(value, value - 0.02, value + 0.02, images), limit)
    half = 0.02 * (images / needed) ** 0.5 if needed else 0.02
    assert (half <= abs(value - limit)) is bool(needed)


def test_a_drop_at_the_limit_is_never_told() -> None:
    assert images_needed(drop(0.005, 0, 0.01), 0.005) == 0


def test_the_verdict_has_three_states() -> None:
    trip = Trip(Reason.ACCURACY, "")
    assert Receipt(()).verdict == "good"
    assert Receipt((), cannot_tell=(trip,), not_checked=("speed",)).verdict == "cannot tell: accuracy"
    assert Receipt((), (trip,), cannot_tell=(trip,)).verdict == "allowed: accuracy"


def test_weights_quantised_for_size_may_be_slower() -> None:
    cpu = find_target("cpu")
    assert slowest(cpu, Precision.W8A8) == 1.0
    assert {slowest(cpu, p) for p in (Precision.W4, Precision.W8, Precision.TERNARY)} == {1.5}
