"""The seam between the runtime and the library that executes an artefact."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from edgekit.errors import IntegrityError, guard
from edgekit.package import Package

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EngineOptions:
    threads: int | None = None  # None: the free big cores this process may use
    simulate: bool = False  # run in a simulator what was compiled for a processor not in here
    chip: str = ""  # which of a package's chips to open it for; "": this machine's


def running() -> AbstractContextManager[None]:
    """What a library raises while it runs a package's model, as IntegrityError."""
    return guard(IntegrityError, "The model in this package fails when it runs", "convert again")


class Session(Protocol):
    threads: int
    simulator: str  # what stands in for the processor: numbers, never time; "" for the real one

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
