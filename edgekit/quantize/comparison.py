"""What quantisation must know of a task: images to decide on, and how far apart outputs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edgekit import registry
from edgekit.data.images import Dataset
from edgekit.model import GraphModel

Outputs = dict[str, np.ndarray[Any, Any]]  # of a graph, by name


class Comparison(Protocol):
    """What tasks of graphs have besides the rest (tasks/base.py): a backend's worker needs it."""

    def calibration(self, path: Path, count: int) -> Dataset:
        """At most `count` images of the user's data. Raises DataError."""
        ...

    def distance(self, reference: Sequence[Outputs], other: Sequence[Outputs]) -> float:
        """How far the outputs of a changed graph are from the float original's, 0 for equal ones."""
        ...


def comparison_of(model: GraphModel) -> Comparison:
    """The task that recognised the model."""
    assert model.spec is not None
    comparison: Comparison = registry.load("tasks", model.spec.task)
    return comparison


def calibration_of(model: GraphModel, path: str, count: int) -> Dataset:
    """Images to quantise the model with, as its task reads them. Raises DataError."""
    return comparison_of(model).calibration(Path(path), count)
