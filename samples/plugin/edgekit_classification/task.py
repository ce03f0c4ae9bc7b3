"""The task itself: what edgekit's pipeline, command line and report ask of image classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import Artifact, CompileOptions
from edgekit.errors import UsageError
from edgekit.model import AnyModel, as_graph
from edgekit.options import whole
from edgekit.package import Content
from edgekit.package.receipt import Receipt
from edgekit.sources.base import SourceOptions
from edgekit.spec import ImageSpec, Precision, TensorSpec
from edgekit.target import Target
from edgekit.tasks.base import Judge, Reader, Request, Retry, Words
from edgekit.tasks.columns import Column, Quality
from edgekit.tasks.image_options import CALIBRATION_IMAGES, EVAL_IMAGES, FLOAT_LAYERS, READING
from edgekit.tasks.order import with_float_parent
from edgekit_classification.data import ClassData, read_images, truth
from edgekit_classification.judge import LIMITS, ClassificationJudge
from edgekit_classification.spec import ClassificationSpec


class ClassificationTask:
    name = ClassificationSpec.task
    form = "graph"
    words = Words(
        "an image classifier", "image classifiers", "images like those it will see", "FOLDER with one a class"
    )
    options = (*READING, CALIBRATION_IMAGES, EVAL_IMAGES, FLOAT_LAYERS)
    limits: Mapping[str, float] = LIMITS
    columns = (
        Column(
            "accuracy", "top-1", "Top-1", "0–1", "how often the likeliest class is right", "high", 1.0, 3, "top-1", 4
        ),
        Column("accuracy", "top-1 drop", "Drop", "0–1", "of the float original minus that", "low", 1.0, 4, "drop", 4),
    )
    qualities = (Quality("Accuracy", "top-1", "accuracy", "top-1", "{:.3f} top-1", "accuracy not measured"),)
    judged = ("top-1 drop",)
    evidence = ("top-1",)

    def data(self, request: Request) -> ClassData:
        calibrating = evaluating = None
        if request.calibration:
            calibrating = read_images(request.calibration, whole(request.values, "calibration_images", 64))
        if request.evaluation:
            count = request.values.get("eval_images")
            evaluating = read_images(request.evaluation, int(count) if count else None)
        return ClassData(calibrating, evaluating)

    def canonical(self, model: AnyModel, reading: SourceOptions) -> AnyModel:
        from edgekit.graph.clean import clean_names
        from edgekit.graph.shapes import fix_shapes
        from edgekit.graph.simplify import simplify
        from edgekit.graph.view import GraphView
        from edgekit.sources.labels import labels_in

        graph, name = as_graph(model, self.name), model.source.name
        fixed = simplify(fix_shapes(graph.graph, reading.image_size, name), name)
        output = fixed.graph.output[0].name
        shape = GraphView(fixed).shape(output)
        if len(fixed.graph.output) != 1 or len(shape) != 2:
            raise UsageError(f"{name} is no image classifier", f"its first output is {list(shape)}", "check --task")
        labels = reading.labels or labels_in(graph.metadata) or tuple(f"class {i}" for i in range(shape[1]))
        if len(labels) != shape[1]:
            raise UsageError(f"{name} has {shape[1]} classes, and there are {len(labels)} labels", "", "check --labels")
        if fixed.graph.node[-1].op_type != "Softmax":
            fixed.graph.node.add(op_type="Softmax", name="softmax", input=[output], output=["probabilities"])
        else:
            fixed.graph.node[-1].output[0] = "probabilities"
        fixed.graph.output[0].name = "probabilities"
        clean, names = clean_names(fixed)
        tensor = clean.graph.input[0]
        size = tuple(d.dim_value for d in tensor.type.tensor_type.shape.dim)
        image = replace(ImageSpec(size[2], size[3], resize="stretch"), **reading.image)
        probabilities = TensorSpec("probabilities", "float32", tuple(shape))
        graph.spec = ClassificationSpec(
            TensorSpec(tensor.name, "float32", size, "NCHW"), (probabilities,), image, tuple(labels)
        )
        graph.graph, graph.names = clean, names
        return graph

    def check(self, model: AnyModel, data: ClassData, request: Request) -> None:
        if data.evaluating is not None:
            truth(data.evaluating, model.spec_as(ClassificationSpec).labels)

    def natural(self, model: AnyModel, target: Target) -> Sequence[str]:
        return ()

    def order(self, model: AnyModel, target: Target, precisions: Sequence[Precision]) -> list[Precision]:
        return with_float_parent(target, precisions)

    def suffix(self, values: Mapping[str, object]) -> str:
        return ""

    def files(self, model: AnyModel) -> dict[str, Content]:
        return {"labels.txt": ("\n".join(model.spec_as(ClassificationSpec).labels) + "\n").encode()}

    def retry(self, artifact: Artifact, receipt: Receipt, options: CompileOptions) -> Retry | None:
        return None

    def remoteness(self, receipt: Receipt) -> float:
        return 0.0

    def judge(self, model: AnyModel, data: ClassData, request: Request, command: str, read: Reader) -> Judge:
        return ClassificationJudge(as_graph(model, self.name), data, request, command)

    def advice(self, precision: Precision) -> str:
        return "more --calibration images, more --float-layers, a float precision"

    def calibration(self, path: Path, count: int) -> Any:
        return read_images(path, count)

    def distance(self, reference: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> float:
        """The mean difference of probabilities, 0..2 summed over classes."""
        pairs = zip(reference, other)
        differences = [abs(a["probabilities"] - b["probabilities"]).sum() for a, b in pairs]
        return float(sum(differences) / len(differences))
