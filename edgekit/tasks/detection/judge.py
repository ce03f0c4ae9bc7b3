"""From a staged package to its receipt: parity, accuracy, size, speed against its parent, verdict."""

from __future__ import annotations

import functools
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgekit import settings
from edgekit.backends.base import Artifact
from edgekit.data.images import match_categories
from edgekit.devices.address import simulator_of
from edgekit.devices.base import Plan
from edgekit.errors import SourceError
from edgekit.graph import count
from edgekit.model import GraphModel
from edgekit.options import whole
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.runtime import Detector, EngineOptions, load, open_session
from edgekit.spec import DetectionSpec
from edgekit.target import Chip, Target
from edgekit.tasks.base import Request, limit
from edgekit.tasks.detection import evidence
from edgekit.tasks.detection.evidence import Images, Run
from edgekit.tasks.detection.images import ImageData
from edgekit.tasks.detection.plausible import check_plausible
from edgekit.tasks.detection.trips import Tolerated, accuracy_unclear, far_from_float, less_accurate, must_be_alike
from edgekit.tasks.judging import NO_SPEED, Findings
from edgekit.tasks.kept import kept_measurements
from edgekit.tasks.speed import Stopwatch

_NO_ACCURACY = "accuracy: it was refused for its speed before"
_CRAWLS = 4.0  # times its float parent: nothing that a loaded machine explains
_PLAN = Plan(iterations=40, warmup=5, seconds=6.0)
_SIMULATED = 8  # images, where nothing else is asked


class _Originals:
    """The float original, and another form of it, over one set of images; each is run once."""

    def __init__(self, model: GraphModel, external: GraphModel | None, images: Images) -> None:
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


class DetectionJudge:
    """Compares packages of one detector with its float original, over one set of images."""

    def __init__(
        self,
        model: GraphModel,
        data: ImageData,
        external: GraphModel | None,
        request: Request,
        command: str,
        limits: Mapping[str, float],
    ) -> None:
        """`external`: another form of the same model; `command`: what a person types to get these numbers again."""
        if external is not None:
            must_be_alike(model, external)
        self.model, self.external, self.request = model, external, request
        self.command, self.limits = command, limits
        self.stopwatch = Stopwatch(request.launches, _PLAN, command, device=request.device)
        self._misread: tuple[Trip, ...] = ()
        everything, spec = data.compared, model.spec_as(DetectionSpec)
        few = everything.first(whole(request.values, "simulated_images", _SIMULATED)) if everything else None
        self._all, self._few = (_Originals(model, external, Images(d, spec)) for d in (everything, few))

    def check_original(self) -> None:
        """Raises SourceError for a detector that was read wrong, unless that is allowed; then each receipt says so."""
        self._misread = check_plausible(self.model, self._all.images.dataset, self.request.allowed)

    def close(self) -> None:
        pass

    def check(self, staged: Package, artifact: Artifact, target: Target, parent: Package | None) -> Receipt:
        findings = Findings(trips=list(self._misread))
        if self.request.service or simulator_of(target.devices):
            self._elsewhere(staged, artifact, target, findings)
            return self._receipt(staged, artifact, findings)
        timed = parent is not None and self.stopwatch.can_time(target)
        slow_matters = timed and not self.request.device and Reason.SLOWER not in self.request.allowed
        if parent is not None and slow_matters and self._crawls(staged, parent):
            speed = self.stopwatch.against_float(staged, parent, target)
            if speed.trip is not None:  # its accuracy would take long and change nothing
                findings.add_speed(speed)
                findings.not_checked.append(_NO_ACCURACY)
                return self._receipt(staged, artifact, findings)

        def compare() -> list[Measurement]:
            with load(staged, settings.threads(), kind=Detector) as detector:
                run = self._all.images.run(detector, f"verifying {staged.manifest.precision}")
            return self._distance(self._all, run)

        findings.measured += self._once(self._all, staged, "", compare)
        findings.add(self._judge_accuracy(self._all, findings.measured, target, artifact))
        if parent is not None and timed and not findings.refused(self.request.allowed):
            findings.add_speed(self.stopwatch.against_float(staged, parent, target))
        if not staged.manifest.precision.is_float and not any(m.name == "ratio to float" for m in findings.measured):
            findings.not_checked.append(NO_SPEED)
        return self._receipt(staged, artifact, findings)

    def _elsewhere(self, staged: Package, artifact: Artifact, target: Target, findings: Findings) -> None:
        """Each chip's own file, in the simulator or on a device of AI Hub: what it computes there."""
        originals = self._few
        for chip in target.chips:
            if self.request.service:
                rows = self._at_aihub(staged, chip)
            else:
                where = f"{simulator_of(target.devices)} {chip.soc}"
                rows = self._once(originals, staged, where, functools.partial(self._simulated, staged, where, chip))
            findings.measured += rows
            findings.add(self._judge_accuracy(originals, rows, target, artifact))
        if originals.images.dataset and len(originals.images) < len(self._all.images):
            findings.not_checked.append(f"accuracy on more than {originals.images.describe()} (--simulated-images)")
        devices = [f"aihub:{c.aihub[0]}" for c in target.chips if c.aihub]
        how = f" (edgekit profile PACKAGE -d {shlex.quote(devices[0])})" if devices else ""
        findings.not_checked.append(f"speed: no device has measured it{how}")

    def _simulated(self, staged: Package, where: str, chip: Chip) -> list[Measurement]:
        options = EngineOptions(simulate=True, chip=chip.soc)
        with Detector(staged.manifest.model_as(DetectionSpec), open_session(staged, options)) as detector:
            what = f"simulating {staged.manifest.precision} on {chip.soc}"
            run, by = self._few.images.run(detector, what), detector.session.simulator
        return self._there(run, f"{where}: {by}", Provenance.SIMULATED)

    def _at_aihub(self, staged: Package, chip: Chip) -> list[Measurement]:
        from edgekit.devices.address import open_device
        from edgekit.tasks.detection.remote import run_on

        device = open_device(f"aihub:{chip.aihub[0]}", {"chip": chip.soc})
        run, info = run_on(device, staged, self._few.images), device.info()
        device.finished()
        return self._there(run, info.name, info.provenance)

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
            model=self.model.fingerprint,
            external=self.external.fingerprint if self.external else "",
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
        self, originals: _Originals, measured: Sequence[Measurement], target: Target, artifact: Artifact
    ) -> Findings:
        """Judges by mAP where the images have boxes and its interval decides, and by the distance of the outputs otherwise."""
        drop = next((m for m in measured if m.name == "mAP50-95 drop"), None)
        distance = next(m for m in measured if m.name == "detection error")
        findings = Findings()
        tolerated = Tolerated(target, limit(self.limits, target, "map_drop"))
        if drop is None:
            findings.not_checked.append("accuracy: no --eval with boxes was given; parity stands in for it")
        else:
            findings.not_checked += self._doubts(originals, measured)
            low, high = drop.interval or (drop.value, drop.value)
            if low > tolerated.limit:
                findings.trips.append(less_accurate(drop, tolerated, artifact))
                return findings
            if high <= tolerated.limit:
                return findings
            findings.unclear.append(accuracy_unclear(drop, tolerated))
        tolerated = Tolerated(target, limit(self.limits, target, "detection_error"))
        if distance.value > tolerated.limit:
            findings.trips.append(far_from_float(distance, tolerated, artifact))
        return findings

    def _receipt(self, staged: Package, artifact: Artifact, findings: Findings) -> Receipt:
        dataset = self._all.images.dataset
        findings.measured[:0] = self._counts()
        return findings.receipt(self.model, staged, artifact, self.command, dataset.left_out if dataset else ())

    def _crawls(self, staged: Package, parent: Package) -> bool:
        """Whether a few runs already show that it is several times slower than its float parent."""
        taken = []
        for package in (parent, staged):
            with load(package, settings.threads(), kind=Detector) as detector:
                detector(self._all.images[0])
                start = time.perf_counter()
                detector(self._all.images[0])
                taken.append(time.perf_counter() - start)
        return taken[1] > _CRAWLS * taken[0]

    def _doubts(self, originals: _Originals, measured: Sequence[Measurement]) -> list[str]:
        """Sentences on what mAP could not measure on these images."""
        dataset = originals.images.dataset
        assert dataset is not None
        matched = set(match_categories(dataset, self.model.spec_as(DetectionSpec).labels).values())
        present = {b.category for boxes in dataset.boxes for b in boxes}
        lost = sorted(dataset.categories.get(c, str(c)) for c in present - matched)
        doubts = [f"accuracy of classes without a label of that name: {', '.join(lost)}"] if lost else []
        if any(m.name == "float mAP50-95" and m.value < 0.01 for m in measured):
            doubts.append("accuracy: the float original itself finds almost nothing on these images")
        return doubts

    def _counts(self) -> list[Measurement]:
        """Of the source's and the package's computation, and how exactly the graph follows the source."""
        source, graph, image = self.model.source, self.model.graph, self.model.spec_as(DetectionSpec).image
        per_image = f"one {image.height}x{image.width} image"
        rows: list[tuple[str, str, float | None, str, str]] = [
            ("source", "FLOPs", source.flops, "1", f"all of {source.name}, {per_image}"),
            ("size", "parameters", count.parameters(graph), "1", "the package"),
            ("size", "FLOPs", count.flops(graph), "1", per_image),
        ]
        note = "network in torch, as trained, against the exported graph"
        rows += [
            ("source", f"{name} max error", error, "px" if name == "boxes" else "1", note)
            for name, error in source.parity
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
