"""From a staged classifier to its receipt: top-1 accuracy beside the float original's, and speed."""

from __future__ import annotations

import numpy as np

from edgekit.backends.base import Artifact
from edgekit.devices.base import Plan
from edgekit.model import GraphModel
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.runtime import EngineOptions, load
from edgekit.runtime.engines.onnxruntime import OnnxRuntimeSession, sizes
from edgekit.runtime.image import read_image
from edgekit.target import Target
from edgekit.tasks.base import Request, limit
from edgekit.tasks.judging import NO_SPEED, Findings
from edgekit.tasks.speed import Stopwatch
from edgekit_classification.data import ClassData, truth
from edgekit_classification.runner import Classifier
from edgekit_classification.spec import ClassificationSpec

LIMITS = {"top1_drop": 0.01}
_PLAN = Plan(iterations=40, warmup=5, seconds=6.0)


class ClassificationJudge:
    def __init__(self, model: GraphModel, data: ClassData, request: Request, command: str) -> None:
        self.model, self.data, self.request, self.command = model, data.evaluating, request, command
        self.spec = model.spec_as(ClassificationSpec)
        self.stopwatch = Stopwatch(request.launches, _PLAN, command, device=request.device)

    def check_original(self) -> None:
        pass

    def close(self) -> None:
        pass

    def check(self, staged: Package, artifact: Artifact, target: Target, parent: Package | None) -> Receipt:
        findings = Findings()
        if self.data is None:
            findings.not_checked.append("accuracy: no --eval was given")
        else:
            self._accuracy(staged, target, findings)
        if parent is not None and not findings.refused(self.request.allowed):
            findings.add_speed(self.stopwatch.against_float(staged, parent, target))
        elif not staged.manifest.precision.is_float:
            findings.not_checked.append(NO_SPEED)
        return findings.receipt(self.model, staged, artifact, self.command)

    def _accuracy(self, staged: Package, target: Target, findings: Findings) -> None:
        assert self.data is not None
        graph = self.model.graph.SerializeToString()
        session = OnnxRuntimeSession(graph, sizes(self.spec.inputs), sizes(self.spec.outputs), EngineOptions())
        right = []
        with Classifier(self.spec, session) as original, load(staged, kind=Classifier) as package:
            for path, wanted in zip(self.data.images, truth(self.data, self.spec.labels)):
                image = read_image(path)
                right.append([c.probabilities(image).argmax() == wanted for c in (original, package)])
        both = np.array(right, float)
        picks = np.random.default_rng(0).integers(0, len(both), (1000, len(both)))
        drops = (both[:, 0] - both[:, 1])[picks].mean(1)
        low, high = (float(v) for v in np.percentile(drops, (2.5, 97.5)))
        theirs, mine = both.mean(0)
        note = f"{len(both)} images of {self.data.folder.name}"
        for name, value, interval in (
            ("top-1", mine, None),
            ("float top-1", theirs, None),
            ("top-1 drop", theirs - mine, (low, high)),
        ):
            findings.measured.append(
                Measurement("accuracy", name, float(value), "1", Provenance.MEASURED, len(both), interval, note=note)
            )
        tolerated = limit(LIMITS, target, "top1_drop")
        said = f"top-1 falls by {theirs - mine:.3f} ({low:.3f} to {high:.3f}); {target.name} tolerates {tolerated:g}"
        if low > tolerated:
            findings.trips.append(Trip(Reason.ACCURACY, f"less accurate than float: {said}"))
        elif high > tolerated:
            findings.unclear.append(Trip(Reason.ACCURACY, f"accuracy cannot be told on these images: {said}"))
