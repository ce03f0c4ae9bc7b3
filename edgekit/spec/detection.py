"""Object detectors: what the manifest says of one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from edgekit.spec.values import ImageSpec, TensorSpec

_DTYPES = ("float32", "uint8", "int8", "uint16", "int16")
_LARGEST = 2**26  # elements: more than any detector's input or output, less than harms a machine


@dataclass(frozen=True)
class DetectionSpec:
    """A detector in edgekit's canonical form.

    Outputs are those of the graph, in model-input pixels:
    `boxes` float32 (B, N, 4) as x1 y1 x2 y2, `scores` float32 (B, C, N) as probabilities.
    That is the input layout of ONNX NonMaxSuppression. A graph that already suppressed
    duplicates (`nms_in_graph`) has `scores` (B, N) and `classes` (B, N) instead.
    """

    noun: ClassVar[str] = "detector"
    verb: ClassVar[str] = "edgekit detect PACKAGE IMAGE"

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    image: ImageSpec
    labels: tuple[str, ...]
    decoder: str
    nms_in_graph: bool = False
    score_threshold: float = 0.25
    iou_threshold: float = 0.7
    max_detections: int = 300
    task: str = "detection"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the graph takes: one image."""
        return (self.input,)

    @property
    def working_bytes(self) -> int:
        return 0

    @property
    def files(self) -> tuple[str, ...]:
        """Names of files that a package has for this besides its artefacts."""
        return ()

    def facts(self) -> list[tuple[str, str]]:
        image = self.image
        size = f"{image.width}x{image.height} {image.resize}, {image.color}"
        named = ", ".join(self.labels[:6]) + (", …" if len(self.labels) > 6 else "")
        return [
            ("input", f"{self.input.name} {self.input.dtype} {list(self.input.shape)} {self.input.layout}"),
            ("image", f"{size}, mean {list(image.mean)}, std {list(image.std)}"),
            *[("output", f"{o.name} {o.dtype} {list(o.shape)} {o.layout}") for o in self.outputs],
            ("labels", f"{len(self.labels)}: {named}"),
        ]

    def check(self) -> None:
        """Raises ValueError for what no engine should be asked to do."""
        for tensor in (self.input, *self.outputs):
            if tensor.dtype not in _DTYPES:
                raise ValueError(f"{tensor.name}: dtype {tensor.dtype!r} is not one of {', '.join(_DTYPES)}")
            if tensor.scale is not None and not (math.isfinite(tensor.scale) and tensor.scale > 0):
                raise ValueError(f"{tensor.name}: {tensor.scale} is no scale")
            if abs(tensor.zero_point) >= 2**31:
                raise ValueError(f"{tensor.name}: {tensor.zero_point:.3g} is no zero point")
            if tensor.dtype in ("int8", "int16", "uint16") and tensor.scale is None:
                raise ValueError(f"{tensor.name}: {tensor.dtype} needs a scale")
            if any(d < -1 or d == 0 for d in tensor.shape) or abs(math.prod(tensor.shape)) > _LARGEST:
                raise ValueError(f"{tensor.name}: {list(tensor.shape)} is no shape")
        if min(self.input.shape) < 1 or len(self.input.shape) not in (3, 4):
            raise ValueError(f"{self.input.name}: {list(self.input.shape)} is no image")
        if not {self.image.height, self.image.width} <= set(self.input.shape):
            raise ValueError("the image does not have the input's size")
        if not all(math.isfinite(v) for v in self.image.mean) or not all(
            math.isfinite(v) and v for v in self.image.std
        ):
            raise ValueError("mean and std must be finite, and std not zero")
        if not 0 <= self.image.pad <= 255:
            raise ValueError(f"{self.image.pad} is no grey level")
        if not 0 <= self.score_threshold <= 1 or not 0 <= self.iou_threshold <= 1:
            raise ValueError("its thresholds are not between 0 and 1")
        if not 1 <= self.max_detections <= 100_000 or len(self.labels) > 100_000:
            raise ValueError("it has too many labels or detections")
        names = {"boxes", "scores", *(("classes",) if self.nms_in_graph else ())}
        if {o.name for o in self.outputs} != names:
            raise ValueError(f"its outputs are not {', '.join(sorted(names))}")
