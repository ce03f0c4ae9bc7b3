"""The task `detection`: boxes of objects in an image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.base import Artifact, CompileOptions
from edgekit.errors import DataError
from edgekit.model import AnyModel, as_graph
from edgekit.options import whole
from edgekit.package import Content
from edgekit.package.receipt import Reason, Receipt
from edgekit.package.search import Attempt
from edgekit.sources.base import SourceOptions
from edgekit.spec import DetectionSpec, Precision
from edgekit.target import Target
from edgekit.tasks.base import Judge, Reader, Request, Retry, Words
from edgekit.tasks.columns import Column, Quality
from edgekit.tasks.detection.images import ImageData
from edgekit.tasks.detection.options import OPTIONS
from edgekit.tasks.order import with_float_parent

if TYPE_CHECKING:
    from edgekit.data.images import Dataset
    from edgekit.quantize.comparison import Outputs

_MORE = {"in float": 2, "on 16 bits": 4}  # times as many layers spared in the next attempt, by where they are


class DetectionTask:
    name = DetectionSpec.task
    form = "graph"
    words = Words(
        "a detector", "detectors", "images like those the detector will see", "FOLDER; 32 to 64 images are enough"
    )
    options = OPTIONS
    # mAP50-95, absolute (0.005 is 0.5 points); score difference + overlap loss, where there are no boxes
    limits: Mapping[str, float] = {"map_drop": 0.005, "detection_error": 0.08}
    columns = (
        Column("size", "parameters", "Params", "M", "parameters in the package", "low", 1e-6),
        Column(
            "accuracy",
            "mAP50-95",
            "mAP50-95",
            "0–1",
            "COCO mean average precision, of the artefact itself",
            "high",
            decimals=3,
            brief="mAP",
            brief_decimals=4,
        ),
        Column(
            "accuracy",
            "mAP50-95 drop",
            "Drop",
            "0–1",
            "mAP50-95 of the float original minus that of the package",
            "low",
            decimals=4,
            brief="drop",
            brief_decimals=4,
        ),
        Column(
            "parity",
            "scores SNR",
            "SNR",
            "dB",
            "signal to noise against the float original, of the worst output",
            "high",
            decimals=1,
            brief="SNR",
        ),
        Column(
            "latency",
            "total median",
            "Whole image",
            "ms",
            "median with preparing the image and finishing the boxes",
            "low",
            per_device=True,
        ),
    )
    qualities = (
        Quality("Accuracy", "mAP50-95", "accuracy", "mAP50-95", "{:.4f} mAP50-95", "accuracy not measured"),
        Quality(
            "Parity with float", "SNR, dB", "parity", "", "{:.1f} dB", "parity not measured", ceiling=100.0
        ),  # beyond it float32 itself rounds more than that
    )
    judged = ("mAP50-95 drop",)
    evidence = ("mAP50-95",)

    def data(self, request: Request) -> ImageData:
        from edgekit.data.images import check_readable, read_dataset

        calibrating = evaluating = None
        if request.calibration:
            calibrating = self.calibration(request.calibration, whole(request.values, "calibration_images", 64))
        if request.evaluation:
            evaluating = read_dataset(request.evaluation)
            evaluating = evaluating.first(whole(request.values, "eval_images", len(evaluating.images)))
        if evaluating is not None and not evaluating.annotated:
            raise DataError(
                f"{request.evaluation} has images but no boxes",
                "accuracy needs annotations",
                "add an annotations .json (COCO) or labels/ (YOLO), or pass it as --calibration only",
            )
        for dataset in (calibrating, evaluating):
            if dataset is not None:
                check_readable(dataset.images, dataset.folder)
        return ImageData(calibrating, evaluating)

    def canonical(self, model: AnyModel, reading: SourceOptions) -> AnyModel:
        from edgekit.graph.canonical import canonicalise
        from edgekit.sources.labels import one_line_each

        graph = canonicalise(as_graph(model, self.name), reading)
        spec = graph.spec_as(DetectionSpec)
        graph.spec = dataclasses.replace(spec, labels=one_line_each(spec.labels))
        return graph

    def check(self, model: AnyModel, data: ImageData, request: Request) -> None:
        from edgekit.data.images import match_categories

        if data.evaluating is not None:
            match_categories(data.evaluating, model.spec_as(DetectionSpec).labels)

    def natural(self, model: AnyModel, target: Target) -> Sequence[str]:
        return ()

    def order(self, model: AnyModel, target: Target, precisions: Sequence[Precision]) -> list[Precision]:
        return with_float_parent(target, precisions)

    def suffix(self, values: Mapping[str, object]) -> str:
        return ""

    def files(self, model: AnyModel) -> dict[str, Content]:
        return {"labels.txt": ("\n".join(model.spec_as(DetectionSpec).labels) + "\n").encode()}

    def retry(self, artifact: Artifact, receipt: Receipt, options: CompileOptions) -> Retry | None:
        """More layers in float, unless the user said how many."""
        trip = next((t for t in receipt.trips if t.reason is Reason.ACCURACY), None)
        spared, where = artifact.settings.get("float_layers"), artifact.settings.get("kept", "in float")
        if trip is None or "float_layers" in options.values or spared is None:
            return None
        values = {**options.values, "float_layers": _MORE[where] * spared or 4}
        return Retry(
            dataclasses.replace(options, values=values),
            f"{trip.message}; trying again with more layers {where}",
            Attempt(spared, trip.message),
        )

    def remoteness(self, receipt: Receipt) -> float:
        return max((m.value for m in receipt.measurements if m.name == "detection error"), default=math.inf)

    def judge(self, model: AnyModel, data: ImageData, request: Request, command: str, read: Reader) -> Judge:
        from edgekit.tasks.detection.judge import DetectionJudge

        spec, external = model.spec_as(DetectionSpec), None
        if "reference" in request.values:
            reading = SourceOptions((spec.image.height, spec.image.width), spec.labels)
            external = as_graph(read(str(request.values["reference"]), reading), self.name)
        return DetectionJudge(as_graph(model, self.name), data, external, request, command, self.limits)

    def advice(self, precision: Precision) -> str:
        finer = ", -p w8a16 where the target has it" if precision is Precision.W8A8 else ""
        if precision.needs_calibration:
            return f"more --calibration images like those it will see, more --float-layers{finer}"
        return "a float precision"

    def calibration(self, path: Path, count: int) -> Dataset:
        from edgekit.data.images import read_dataset

        return read_dataset(path).first(count)

    def distance(self, reference: Sequence[Outputs], other: Sequence[Outputs]) -> float:
        from edgekit.tasks.detection.distance import detection_error

        return detection_error(reference, other)
