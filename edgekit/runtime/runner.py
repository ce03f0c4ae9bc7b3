"""The seam between a task and everything that runs its packages: what `load` returns, and what a launch measures."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import ClassVar, Protocol, Self

from edgekit.package.folder import Package
from edgekit.runtime.engine import Array, EngineOptions
from edgekit.runtime.measuring import Effort, Timings


class Runner(Protocol):
    """A package, ready to run. Registered in the group `edgekit.runners` by its task."""

    noun: ClassVar[str]  # what such a model is called: "detector"

    @property
    def threads(self) -> int:
        """Of the engine."""
        ...

    @property
    def simulator(self) -> str:
        """What stands in for the processor that the package was compiled for; "" where nothing does."""
        ...

    @classmethod
    def open(cls, package: Package, options: EngineOptions) -> Self:
        """Opens a package of this task. Every file is checked first.

        Raises IntegrityError, MissingError and DeviceError as `edgekit.runtime.load` does.
        """
        ...

    def measure(self, effort: Effort) -> Timings:
        """What one launch measures, on input that is the same each time."""
        ...

    def probe(self) -> Mapping[str, Array]:
        """What the model gives for one input of noise, by name: for a check that it runs, and with numbers that are."""
        ...

    def close(self) -> None:
        """Frees the engine. A second time is harmless."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
