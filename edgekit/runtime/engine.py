"""The seam between the runtime and the library that executes an artefact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgekit.package import Package

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EngineOptions:
    threads: int | None = None  # None: the free big cores this process may use


class Session(Protocol):
    threads: int

    def input(self, name: str) -> Array:
        """The buffer to write an input into before `run`; the same array every time."""
        ...

    def run(self, inputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run on the input buffers, after copying `inputs` into them when given.

        The arrays returned are reused: they hold until the next `run`.
        """
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    def open(self, package: Package, options: EngineOptions) -> Session: ...
