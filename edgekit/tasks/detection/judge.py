"""From a staged package to its receipt: parity, accuracy, size, speed against its parent, verdict."""

from __future__ import annotations

import functools
import hashlib
import shlex
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

import numpy as np

from edgekit.backends.base import Artifact
from edgekit.data.images import Dataset, match_categories
from edgekit.devices.base import Plan
from edgekit.errors import SourceError
from edgekit.graph import count
from edgekit.model import Model
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.runtime import Detector, EngineOptions, load, open_session
from edgekit.spec import DetectionSpec
from edgekit.target import Chip, Target
from edgekit.tasks.detection import evidence
from edgekit.tasks.detection.evidence import Images, Run
from edgekit.tasks.detection.trips import accuracy_unclear, far_from_float, less_accurate, must_be_alike
from edgekit.tasks.kept import kept_measurements
from edgekit.tasks.speed import Speed, against_float

_NO_SPEED = "speed against the float parent"
_NO_ACCURACY = "accuracy: it was refused for its speed before"
_CRAWLS = 4.0  # times its float parent: nothing that a loaded machine explains
_TRIPWIRE = Plan(iterations=40, warmup=5, seconds=6.0)


class _Originals:
    """The float original, and another form of it, over one set of images; each is run once."""

    def __init__(self, model: Model, external: Model | None, images: Images) -> None:
        self.model, self.external, self.images = model, external, images

    @functools.cached_property
    def run(self) -> Run:
        with evidence.open_model(self.model) as detector:
            done = self.images.run(detector, "running the float original")
        if not all(np.isfinite(a).all() for o in done.outputs for a in o.values()):
            raise SourceError(
                f"{self.model.source.name} gives numbers that are not finite",
                "its outputs hold NaN or infinity: its weights are damaged",
                "check the training run, or take an earlier checkpoint",
            )
        return done

    @functools.cached_property
    def other(self) -> Run:
        assert self.external is not None
        with evidence.open_model(self.external) as detector:
            return self.images.run(detector, "running the reference")


@dataclass
class _Judged:
    trips: list[Trip] = field(default_factory=list)
    unclear: list[Trip] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


class Verifier:
    """Compares packages of one model with its float original, over one set of images."""

    def __init__(
        self,
        model: Model,
        dataset: Dataset | None,
        external: Model | None,
        launches: int,
        command: str,
        allowed: Collection[Reason] = (),
        simulated_images: int = 8,
    ) -> None:
        """`command`: what a person types to get these numbers again; `allowed`: what may trip;
        `simulated_images`: how many of the images a simulator runs."""
        assert model.spec is not None
        if external is not None:
            must_be_alike(model, external)
        self.model, self.external, self.launches = model, external, launches
        self.command, self.allowed = command, allowed
        few = dataset.first(simulated_images) if dataset else None
        self._all, self._few = (_Originals(model, external, Images(d, model.spec)) for d in (dataset, few))

    def check(self, staged: Package, artifact: Artifact, target: Target, parent: Package | None) -> Receipt:
        """`parent`: the float package of the same model and target, when this one is not float."""
        if target.simulator or target.backend == "aihub":
            return self._elsewhere(staged, artifact, target)
        timed = parent is not None and self._can_time(target) and Reason.SLOWER not in self.allowed
        if parent is not None and timed and self._crawls(staged, parent):
            speed = self._speed(staged, parent, target)
            if speed.trip is not None:  # its accuracy would take long and change nothing
                return self._receipt(staged, artifact, [*speed.measured], _Judged([speed.trip], [], [_NO_ACCURACY]))

        def compare() -> list[Measurement]:
            with load(staged) as detector:
                run = self._all.images.run(detector, f"verifying {staged.manifest.precision}")
            return self._distance(self._all, run)

        measured = self._once(self._all, staged, "", compare)
        judged = self._judge_accuracy(self._all, measured, target, artifact)
        if parent is not None:
            refused = any(t.reason not in self.allowed for t in judged.trips)  # and need not be timed
            speed = self._speed(staged, parent, target) if not refused else Speed()
            measured += speed.measured
            judged.trips += [speed.trip] if speed.trip else []
            judged.unclear += [speed.unclear] if speed.unclear else []
            judged.not_checked += [] if speed.measured else [_NO_SPEED]
        return self._receipt(staged, artifact, measured, judged)

    def _elsewhere(self, staged: Package, artifact: Artifact, target: Target) -> Receipt:
        """Each chip's own file, in the simulator or on a device of AI Hub: what it computes there."""
        originals = self._few
        measured: list[Measurement] = []
        judged = _Judged()
        for chip in target.chips:
            if target.backend == "aihub":
                rows = self._at_aihub(staged, chip)
            else:
                where = f"{target.simulator} {chip.soc}"
                simulate = functools.partial(self._simulated, staged, where, chip)
                rows = self._once(originals, staged, where, simulate)
            measured += rows
            its = self._judge_accuracy(originals, rows, target, artifact)
            judged.trips += its.trips
            judged.unclear += its.unclear
            judged.not_checked += its.not_checked
        if originals.images.dataset and len(originals.images) < len(self._all.images):
            judged.not_checked.append(f"accuracy on more than {originals.images.describe()} (--simulated-images)")
        devices = [f"aihub:{c.aihub[0]}" for c in target.chips if c.aihub]
        how = f" (edgekit profile PACKAGE -d {shlex.quote(devices[0])})" if devices else ""
        judged.not_checked.append(f"speed: no device has measured it{how}")
        return self._receipt(staged, artifact, measured, judged)

    def _simulated(self, staged: Package, where: str, chip: Chip) -> list[Measurement]:
        options = EngineOptions(simulate=True, chip=chip.soc)
        with Detector(staged.manifest.model_as(DetectionSpec), open_session(staged, options)) as detector:
            what = f"simulating {staged.manifest.precision} on {chip.soc}"
            run, by = self._few.images.run(detector, what), detector.session.simulator
        return self._there(run, f"{where}: {by}", Provenance.SIMULATED)

    def _at_aihub(self, staged: Package, chip: Chip) -> list[Measurement]:
        from edgekit.aihub.hub import Hub
        from edgekit.tasks.detection.remote import run_on

        with Hub() as hub:
            device = hub.device(chip.aihub[0])["name"]
            run, job = run_on(hub, staged, self._few.images, device, chip.soc)
        provenance = Provenance.SIMULATED if job.emulated else Provenance.MEASURED
        return self._there(run, f"aihub:{device}", provenance)

    def _there(self, run: Run, where: str, provenance: Provenance) -> list[Measurement]:
        """The distance of what ran elsewhere, and on how many images."""
        count = len(self._few.images)
        ran = Measurement("gate", "images run there", float(count), "1", provenance, count, device=where)
        return [
            ran,
            *(
                m if m.name.startswith("float ") else replace(m, provenance=provenance, device=where)
                for m in self._distance(self._few, run)
            ),
        ]

    def _once(
        self, originals: _Originals, staged: Package, where: str, make: Callable[[], list[Measurement]]
    ) -> list[Measurement]:
        """What `make()` gives, once for the same files compared with the same original on the same images."""
        manifest = staged.manifest
        return kept_measurements(
            make,
            where=where,
            files=manifest.files,
            spec=manifest.model,
            engine=manifest.engine,
            tools=manifest.toolchain["versions"],
            images=originals.images.fingerprint,
            model=_digest(self.model),
            external=_digest(self.external) if self.external else "",
        )

    def _distance(self, originals: _Originals, run: Run) -> list[Measurement]:
        """How far a package's outputs and detections are from the float original's."""
        reference, images = originals.run, originals.images
        seen = images.describe(len(reference.outputs))
        return [
            evidence.detection_error_measurement(reference, run, seen),
            *evidence.parity_measurements(evidence.parity(reference, run), seen),
            *evidence.accuracy_measurements(reference, run, images.describe()),
            *self._external(originals, run, seen),
        ]

    def _judge_accuracy(
        self, originals: _Originals, measured: list[Measurement], target: Target, artifact: Artifact
    ) -> _Judged:
        """By the metric where there are boxes, and it can tell; by the outputs otherwise."""
        drop = next((m for m in measured if m.name == "mAP50-95 drop"), None)
        distance = next(m for m in measured if m.name == "detection error")
        found = _Judged()
        if drop is None:
            found.not_checked.append("accuracy: no --eval with boxes was given; parity stands in for it")
        else:
            found.not_checked += self._doubts(originals, measured)
            low, high = drop.interval or (drop.value, drop.value)
            if low > target.tolerance.map_drop:
                found.trips.append(less_accurate(drop, target, artifact))
                return found
            if high <= target.tolerance.map_drop:
                return found
            found.unclear.append(accuracy_unclear(drop, target))
        if distance.value > target.tolerance.detection_error:
            found.trips.append(far_from_float(distance, target, artifact))
        return found

    def _receipt(self, staged: Package, artifact: Artifact, measured: list[Measurement], judged: _Judged) -> Receipt:
        every = [*self._source(staged), *artifact.measured, *measured]
        dataset = self._all.images.dataset
        left_out = dataset.left_out if dataset else ()
        return Receipt(
            tuple(m if m.command else replace(m, command=self.command) for m in every),
            tuple(judged.trips),
            tuple(judged.unclear),
            tuple(dict.fromkeys(judged.not_checked)),
            artifact.search,
            (*self.model.source.notes, *left_out, *artifact.notes),
        )

    def _can_time(self, target: Target) -> bool:
        return bool(self.launches) and "local" in target.devices

    def _crawls(self, staged: Package, parent: Package) -> bool:
        """Whether a few runs already show that it is several times slower than its float parent."""
        taken = []
        for package in (parent, staged):
            with load(package) as detector:
                detector(self._all.images[0])
                start = time.perf_counter()
                detector(self._all.images[0])
                taken.append(time.perf_counter() - start)
        return taken[1] > _CRAWLS * taken[0]

    def _doubts(self, originals: _Originals, measured: list[Measurement]) -> list[str]:
        """What the metric could not see."""
        assert self.model.spec is not None
        dataset = originals.images.dataset
        assert dataset is not None
        matched = set(match_categories(dataset, self.model.spec.labels).values())
        present = {b.category for boxes in dataset.boxes for b in boxes}
        lost = sorted(dataset.categories.get(c, str(c)) for c in present - matched)
        doubts = [f"accuracy of classes without a label of that name: {', '.join(lost)}"] if lost else []
        if any(m.name == "float mAP50-95" and m.value < 0.01 for m in measured):
            doubts.append("accuracy: the float original itself finds almost nothing on these images")
        return doubts

    def _source(self, staged: Package) -> list[Measurement]:
        """What the checkpoint held, what the package holds: exact counts, not samples."""
        source, graph = self.model.source, self.model.graph
        image = self.model.spec.image if self.model.spec else None
        per_image = f"one {image.height}x{image.width} image" if image else ""
        size = sum(entry.bytes for entry in staged.manifest.files.values())
        rows: list[tuple[str, str, float | None, str, str]] = [
            ("source", "parameters", source.parameters, "1", f"all of {source.name}"),
            ("source", "FLOPs", source.flops, "1", f"all of {source.name}, {per_image}"),
            ("size", "parameters", count.parameters(graph), "1", "the package"),
            ("size", "FLOPs", count.flops(graph), "1", per_image),
            ("size", "source file", source.bytes, "bytes", source.name),
            ("size", "package", size, "bytes", "all files"),
        ]
        rows += [
            (
                "source",
                f"{n} max error",
                e,
                "px" if n == "boxes" else "1",
                "network in torch, as trained, against the exported graph",
            )
            for n, e in source.parity
        ]
        return [
            Measurement(group, name, float(value), unit, Provenance.MEASURED, note=note)
            for group, name, value, unit, note in rows
            if value is not None
        ]

    def _external(self, originals: _Originals, run: Run, where: str) -> list[Measurement]:
        if self.external is None:
            return []
        other = originals.other
        note = f"against {self.external.source.name}, {where}"
        return [
            *evidence.parity_measurements(evidence.parity(other, run), note, "reference"),
            *evidence.box_differences(other, run, note),
        ]

    def _speed(self, staged: Package, parent: Package, target: Target) -> Speed:
        """Nothing where it cannot be timed here."""
        if not self._can_time(target):
            return Speed()
        limit = target.tolerance.ratio(staged.manifest.precision)
        return against_float(staged, parent, self.launches, _TRIPWIRE, limit, self.command)


def _digest(model: Model) -> str:
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
