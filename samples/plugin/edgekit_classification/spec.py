"""What a package says of an image classifier. Standard library and edgekit's values only: a device reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgekit.spec import ImageSpec, TensorSpec


@dataclass(frozen=True)
class ClassificationSpec:
    """`probabilities` float32 (1, C), one for each label, that add up to one."""

    noun: ClassVar[str] = "image classifier"
    verb: ClassVar[str] = "edgekit.runtime.load(PACKAGE)(IMAGE)"

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    image: ImageSpec
    labels: tuple[str, ...]
    task: str = "image-classification"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (self.input,)

    @property
    def files(self) -> tuple[str, ...]:
        return ()

    @property
    def working_bytes(self) -> int:
        return 0

    def facts(self) -> list[tuple[str, str]]:
        return [
            ("input", f"{self.input.name} {list(self.input.shape)}, {self.image.resize}"),
            ("labels", f"{len(self.labels)}: {', '.join(self.labels[:6])}"),
        ]

    def check(self) -> None:
        if [o.name for o in self.outputs] != ["probabilities"] or self.outputs[0].shape != (1, len(self.labels)):
            raise ValueError("its output is not one probability for each label")
