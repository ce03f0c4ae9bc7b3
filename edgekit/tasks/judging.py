"""From what was found out about a package to its receipt: what the judges of all tasks do alike."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from edgekit.backends.base import Artifact
from edgekit.model import AnyModel
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.tasks.speed import Speed

NO_SPEED = "speed against the float parent"


@dataclass
class Findings:
    """What is known of one package so far: its figures, and what they mean."""

    measured: list[Measurement] = field(default_factory=list)
    trips: list[Trip] = field(default_factory=list)
    unclear: list[Trip] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        self.measured += other.measured
        self.trips += other.trips
        self.unclear += other.unclear
        self.not_checked += other.not_checked

    def add_speed(self, speed: Speed) -> None:
        self.measured += speed.measured
        self.trips += [speed.trip] if speed.trip else []
        self.unclear += [speed.unclear] if speed.unclear else []

    def refused(self, allowed: Collection[Reason]) -> bool:
        """Whether a trip refuses the package already, so that nothing more need be measured."""
        return any(t.reason not in allowed for t in self.trips)

    def receipt(
        self, model: AnyModel, staged: Package, artifact: Artifact, command: str, notes: Sequence[str] = ()
    ) -> Receipt:
        """`notes`: of the data that was judged on; `command`: what repeats the figures that name no other."""
        every = [*sizes(model, staged), *artifact.measured, *self.measured]
        return Receipt(
            tuple(m if m.command else replace(m, command=command) for m in every),
            tuple(self.trips),
            tuple(self.unclear),
            tuple(dict.fromkeys(self.not_checked)),
            artifact.search,
            (*model.source.notes, *notes, *artifact.notes),
        )


def sizes(model: AnyModel, staged: Package) -> list[Measurement]:
    """What the checkpoint held and what the package holds: exact counts, not samples."""
    source = model.source
    size = sum(entry.bytes for entry in staged.manifest.files.values())
    rows = (
        ("source", "parameters", source.parameters, "1", f"all of {source.name}"),
        ("size", "source file", source.bytes, "bytes", source.name),
        ("size", "package", size, "bytes", "all files"),
    )
    return [
        Measurement(group, name, float(value), unit, Provenance.MEASURED, note=note)
        for group, name, value, unit, note in rows
        if value is not None
    ]
