"""The seam between the runtime and the library that executes an artefact."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from edgekit.errors import IntegrityError, guard
from edgekit.package.folder import Package
from edgekit.spec import GraphSpec, graph_of

Array = np.ndarray[Any, Any]
Opened = TypeVar("Opened", covariant=True)


@dataclass(frozen=True)
class EngineOptions:
    """How to open a package. `threads`: None for the big cores that this process may use. `simulate`: run in a
    simulator what was compiled for a processor that is not in here. `chip`: which of a package's chips to open it for;
    "" for this machine's."""

    threads: int | None = None
    simulate: bool = False
    chip: str = ""


def running() -> AbstractContextManager[None]:
    """What a library raises while it runs a package's model, as IntegrityError."""
    return guard(IntegrityError, "The model in this package fails when it runs", "convert again")


def graph_spec(package: Package) -> GraphSpec:
    """The tensors of a package's graph. Raises IntegrityError for a package that is described in another way."""
    manifest = package.manifest
    graph = graph_of(manifest.model)
    if graph is None:
        raise IntegrityError(
            f"{manifest.name} names the engine {manifest.engine.name}, which runs graphs of tensors",
            f"its task is {manifest.task}, which describes no inputs and outputs",
            "convert again",
        )
    return graph


class Session(Protocol):
    """A graph that an engine opened. Not for concurrent use."""

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

    def close(self) -> None:
        """Give back the memory; the session cannot be used afterwards."""
        ...


class Engine(Protocol[Opened]):
    """What opens one backend's artefacts. Registered in the group `edgekit.engines` by the name that manifests give it.

    `libraries`: the distributions that bring the library, any of them; `extra` installs the first. `companions`: those
    that must be there besides, each of them. `extra`: edgekit's extra that installs all of them, or several with commas
    between them. `in_browsers`: whether the library has a build for browsers that opens the same artefacts. A class that
    inherits from this one has the defaults: nothing is known of its library.
    """

    libraries: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    extra: str = ""
    in_browsers: bool = False

    def open(self, package: Package, options: EngineOptions) -> Opened:
        """A `Session`, or for language models a `TextSession`. Raises MissingError without the library, IntegrityError
        for an artefact that is not what the manifest says, DeviceError without the processor that it is for."""
        ...
