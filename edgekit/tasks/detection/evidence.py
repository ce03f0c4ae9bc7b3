"""Run an artefact and its float original over the same images, through the engine that will run
it, and say how far apart they are."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgekit import progress, settings
from edgekit.data.images import Dataset
from edgekit.model import GraphModel
from edgekit.package.receipt import Measurement, Provenance
from edgekit.runtime.detection.detector import Detector
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.engines.onnxruntime import OnnxRuntimeSession
from edgekit.runtime.image import read_image
from edgekit.spec import DetectionSpec
from edgekit.tasks.detection.distance import detection_error
from edgekit.tasks.detection.metrics import PROTOCOL, Accuracy, Predictions, centred_interval, evaluate
from edgekit.tasks.detection.parity import Parity

Array = np.ndarray[Any, Any]

_KEPT_BYTES = 256 * 2**20  # float outputs held for parity; later images are compared by metric only
SURE = 0.25  # the score above which a box counts as a detection when boxes are compared


def open_model(model: GraphModel) -> Detector:
    """The model's float graph, run as a package would be."""
    return open_graph(model.graph.SerializeToString(), model.spec_as(DetectionSpec), settings.threads())


def open_graph(graph: bytes, spec: DetectionSpec, threads: int | None = None) -> Detector:
    session = OnnxRuntimeSession(
        graph,
        {spec.input.name: (spec.input.shape, spec.input.dtype)},
        {o.name: (o.shape, o.dtype) for o in spec.outputs},
        EngineOptions(threads),
    )
    return Detector(spec, session)


@dataclass
class Run:
    """A detector's detections on all images, and its raw outputs on the first ones."""

    predictions: list[Predictions] = field(default_factory=list)
    outputs: list[dict[str, Array]] = field(default_factory=list)
    accuracy: Accuracy | None = None


class Images:
    """The images everything is compared on: annotated ones, bare ones, or two probes."""

    def __init__(self, dataset: Dataset | None, spec: DetectionSpec) -> None:
        self.dataset, self.spec = dataset, spec
        self.annotated = dataset is not None and dataset.annotated

    def __len__(self) -> int:
        return len(self.dataset.images) if self.dataset else 2

    def __getitem__(self, index: int) -> Array:
        if self.dataset:
            return read_image(self.dataset.images[index])
        shape = (self.spec.image.height, self.spec.image.width, 3)
        return np.random.default_rng(index).integers(0, 256, shape, dtype=np.uint8)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A text that identifies the images and their annotations, for the key of a cache."""
        if self.dataset is None:
            return "noise"
        names = {"folder": self.dataset.folder.name, "categories": self.dataset.categories}
        return f"{self.dataset.fingerprint()} {names}"

    def describe(self, first: int | None = None) -> str:
        """A description of the images for a receipt; `first`: of the first so many of them only."""
        if self.dataset and first is not None and first < len(self):
            return f"the first {first} of {len(self)} images of {self.dataset.folder.name}"
        return f"{len(self)} images of {self.dataset.folder.name}" if self.dataset else "2 probes of noise"

    def run(self, detector: Detector, what: str) -> Run:
        """Detections and, when the images are annotated, their accuracy."""
        done, held = Run(), 0
        for index in progress.track(range(len(self)), what, len(self)):
            boxes, scores, classes = detector.arrays(self[index], **PROTOCOL)
            done.predictions.append((boxes, scores, classes))
            if held < _KEPT_BYTES:
                copies = {n: a.copy() for n, a in detector.outputs.items()}
                held += sum(a.nbytes for a in copies.values())
                done.outputs.append(copies)
        if self.annotated:
            assert self.dataset is not None
            done.accuracy = evaluate(self.dataset, done.predictions, self.spec.labels)
        return done


def parity(reference: Run, other: Run) -> Parity:
    result = Parity()
    for a, b in zip(reference.outputs, other.outputs):
        result.add(a, b)
    return result


def parity_measurements(parity: Parity, where: str, group: str = "parity") -> list[Measurement]:
    rows = []
    for name in parity.noise:
        unit = "px" if name == "boxes" else "1"
        for label, value, its_unit in (("SNR", parity.snr(name), "dB"), ("max error", parity.worst[name], unit)):
            rows.append(
                Measurement(group, f"{name} {label}", value, its_unit, Provenance.MEASURED, parity.images, note=where)
            )
    return rows


def accuracy_measurements(reference: Run, other: Run, where: str) -> list[Measurement]:
    a, b = reference.accuracy, other.accuracy
    if a is None or b is None:
        return []
    note = f"{where}, {b.boxes} boxes; bootstrap over images"

    def one(name: str, value: float, interval: tuple[float, float] | None = None) -> Measurement:
        return Measurement("accuracy", name, value, "1", Provenance.MEASURED, b.images, interval, note=note)

    return [
        one("mAP50-95", b.map, b.interval()),
        one("mAP50", b.map50),
        one("float mAP50-95", a.map, a.interval()),
        one("float mAP50", a.map50),
        one("mAP50-95 drop", a.map - b.map, centred_interval(a.samples - b.samples, a.map - b.map)),
    ]


def box_differences(reference: Run, other: Run, where: str) -> list[Measurement]:
    """Largest difference of boxes and scores where either sees something (score > SURE)."""
    boxes = scores = 0.0
    count = 0
    for a, b in zip(reference.outputs, other.outputs):
        if a["boxes"].shape != b["boxes"].shape or a["scores"].ndim != 3:
            continue
        count += 1
        sure = np.maximum(a["scores"], b["scores"])[0].max(0) > SURE
        boxes = max(boxes, float(np.abs(a["boxes"] - b["boxes"])[0, sure].max(initial=0.0)))
        scores = max(scores, float(np.abs(a["scores"] - b["scores"])[0][:, sure].max(initial=0.0)))
    if not count:
        return []
    return [
        Measurement("reference", "detected boxes max difference", boxes, "px", Provenance.MEASURED, count, note=where),
        Measurement("reference", "detected scores max difference", scores, "1", Provenance.MEASURED, count, note=where),
    ]


def detection_error_measurement(reference: Run, other: Run, where: str) -> Measurement:
    """See `distance.detection_error`: what stands in for accuracy without boxes."""
    value = detection_error(reference.outputs, other.outputs)
    note = f"mean score difference + mean overlap loss where either sees something, {where}"
    return Measurement("parity", "detection error", value, "1", Provenance.MEASURED, len(reference.outputs), note=note)
