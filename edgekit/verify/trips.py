"""What trips a package, in words for a person."""

from __future__ import annotations

from edgekit.backends.base import Artifact
from edgekit.errors import UsageError
from edgekit.model import Model
from edgekit.receipt import Measurement, Reason, Trip
from edgekit.target import Target


def must_be_alike(model: Model, external: Model) -> None:
    assert model.spec is not None
    assert external.spec is not None
    mine, theirs = ([(o.name, o.shape) for o in m.spec.outputs] for m in (model, external) if m.spec)
    if mine != theirs:
        raise UsageError(
            f"{external.source.name} is no reference for {model.source.name}",
            f"their outputs differ: {theirs} and {mine}",
            "a reference is the same model in another form",
        )


def less_accurate(drop: Measurement, target: Target, artifact: Artifact) -> Trip:
    assert drop.interval is not None
    low, high = (v * 100 for v in drop.interval)
    message = (
        f"less accurate than float: mAP50-95 falls by {drop.value * 100:.2f} points "
        f"({low:.2f} to {high:.2f}) on {drop.samples} images; {target.name} tolerates "
        f"{target.tolerance.map_drop * 100:.2f}"
    )
    return Trip(Reason.ACCURACY, message, _costly(artifact))


def far_from_float(distance: Measurement, target: Target, artifact: Artifact) -> Trip:
    message = (
        f"far from float: detection error {distance.value:.3f} on {distance.samples} images; "
        f"{target.name} tolerates {target.tolerance.detection_error:g}"
    )
    return Trip(Reason.ACCURACY, message, _costly(artifact))


def _costly(artifact: Artifact) -> tuple[str, ...]:
    """The quantised layers that cost most, as the search measured them."""
    regions = [r for r in artifact.search if r.get("kind") == "region" and not r.get("float")]
    regions.sort(key=lambda r: -r["cost"])
    return tuple(f"{r['name']}: {r['cost']:.3g}" for r in regions[:8])
