"""Image classifiers on a device: an image in, labels and their probabilities out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from edgekit.package import Package
from edgekit.runtime import EngineOptions, Session, open_session
from edgekit.runtime.image import Preprocessor, read_image
from edgekit.runtime.measuring import Effort, Timings, measure_phases
from edgekit.runtime.runner import Runner
from edgekit_classification.spec import ClassificationSpec

Array = np.ndarray[Any, Any]


class Classifier(Runner):
    noun = ClassificationSpec.noun

    def __init__(self, spec: ClassificationSpec, session: Session) -> None:
        self.spec, self.session = spec, session
        self.prepare = Preprocessor(spec.image, session.input(spec.input.name), spec.input)

    @classmethod
    def open(cls, package: Package, options: EngineOptions) -> Self:
        return cls(package.manifest.model_as(ClassificationSpec), open_session(package, options))

    @property
    def threads(self) -> int:
        return self.session.threads

    @property
    def simulator(self) -> str:
        return self.session.simulator

    def __call__(self, image: str | os.PathLike[str] | Array, top: int = 5) -> list[tuple[str, float]]:
        """The likeliest labels of a path or an HWC uint8 RGB array, best first, each with its probability."""
        found = self.probabilities(image)
        return [(self.spec.labels[i], float(found[i])) for i in np.argsort(-found, kind="stable")[:top]]

    def probabilities(self, image: str | os.PathLike[str] | Array) -> Array:
        """float32 (C,)."""
        self.prepare(image if isinstance(image, np.ndarray) else read_image(image))
        return self.session.run()["probabilities"][0].copy()

    def measure(self, effort: Effort) -> Timings:
        noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        return measure_phases(
            lambda: self.prepare(noise), self.session.run, lambda _, o: o["probabilities"][0].argmax(), effort
        )

    def probe(self) -> Mapping[str, Array]:
        shape = (self.spec.image.height, self.spec.image.width, 3)
        return {"probabilities": self.probabilities(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))}

    def close(self) -> None:
        self.session.close()
