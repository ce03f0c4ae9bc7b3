"""What trips a package, in words for a person."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekit.backends.base import Artifact
from edgekit.errors import UsageError
from edgekit.model import GraphModel
from edgekit.package.receipt import Measurement, Reason, Trip
from edgekit.package.search import Region
from edgekit.spec import DetectionSpec
from edgekit.target import Target


@dataclass(frozen=True)
class Tolerated:
    """A target and its limit of one figure."""

    target: Target
    limit: float


def must_be_alike(model: GraphModel, external: GraphModel) -> None:
    mine, theirs = ([(o.name, o.shape) for o in m.spec_as(DetectionSpec).outputs] for m in (model, external))
    if mine != theirs:
        raise UsageError(
            f"{external.source.name} is no reference for {model.source.name}",
            f"their outputs differ: {theirs} and {mine}",
            "a reference is the same model in another form",
        )


def less_accurate(drop: Measurement, tolerated: Tolerated, artifact: Artifact) -> Trip:
    return Trip(Reason.ACCURACY, f"less accurate than float: {_falls(drop, tolerated)}", _costly(artifact))


def accuracy_unclear(drop: Measurement, tolerated: Tolerated) -> Trip:
    """For a drop whose interval has what is tolerated inside it: it says how many images would tell."""
    message = f"accuracy cannot be told on these images: {_falls(drop, tolerated)}; "
    needed = images_needed(drop, tolerated.limit)
    return Trip(
        Reason.ACCURACY,
        message
        + (
            f"if the drop stays, some {needed} images would tell"
            if needed
            else "the drop is too near to that for any number of images"
        ),
    )


def images_needed(drop: Measurement, limit: float) -> int:
    """So many that the interval would leave `limit` out, were the value to stay: intervals shrink with the root
    of the number of images. In two significant digits; 0 where it takes more than a hundred times as many."""
    assert drop.interval is not None
    half = (drop.interval[1] - drop.interval[0]) / 2
    distance = abs(drop.value - limit)
    if half > 10 * distance:
        return 0
    images = max(drop.samples + 1, math.ceil(drop.samples * (half / distance) ** 2))
    unit = 10 ** max(len(str(images)) - 2, 0)
    return math.ceil(images / unit) * unit


def _falls(drop: Measurement, tolerated: Tolerated) -> str:
    assert drop.interval is not None
    low, high = (v * 100 for v in drop.interval)
    return (
        f"mAP50-95 falls by {drop.value * 100:.2f} points ({low:.2f} to {high:.2f}) on {drop.samples} images; "
        f"{tolerated.target.name} tolerates {tolerated.limit * 100:.2f}"
    )


def far_from_float(distance: Measurement, tolerated: Tolerated, artifact: Artifact) -> Trip:
    message = (
        f"far from float: detection error {distance.value:.3f} on {distance.samples} images; "
        f"{tolerated.target.name} tolerates {tolerated.limit:g}"
    )
    return Trip(Reason.ACCURACY, message, _costly(artifact))


def _costly(artifact: Artifact) -> tuple[str, ...]:
    """The quantised layers that cost most, as the search measured them."""
    regions = [r for r in artifact.search if isinstance(r, Region) and not r.float]
    regions.sort(key=lambda r: -r.cost)
    return tuple(f"{r.name}: {r.cost:.3g}" for r in regions[:8])
