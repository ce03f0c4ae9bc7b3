"""What a manifest says of a model, by its task: the group `edgekit.specs` has one dataclass for each."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, cast

from edgekit import registry
from edgekit.errors import IntegrityError
from edgekit.spec.plain import from_json


class ModelSpec(Protocol):
    """A frozen dataclass of plain values. A manifest that holds one is read without the library that runs it."""

    noun: ClassVar[str]  # what such a model is called: "detector"
    verb: ClassVar[str]  # the command that uses one: "edgekit detect PACKAGE IMAGE"

    @property
    def task(self) -> str: ...

    @property
    def files(self) -> tuple[str, ...]:
        """Names of files that a package has for this besides its artefacts."""
        ...

    def check(self) -> None:
        """Raises ValueError for what no engine should be asked to do."""
        ...


def read_spec(data: Any) -> ModelSpec:
    """A spec from its JSON value, checked. Raises ValueError, and IntegrityError for a task that is not known."""
    if not isinstance(data, dict):
        raise ValueError("a model is described by an object")
    task = data.get("task")
    if not isinstance(task, str) or task not in registry.names("specs"):
        raise IntegrityError(
            f"A model for the task {str(task)[:60]!r} is not one this edgekit knows",
            f"it knows {', '.join(registry.names('specs'))}",
            "pip install --upgrade edgekit, or install the extension that provides it",
        )
    spec = cast(ModelSpec, from_json(registry.find("specs", task), data))
    spec.check()
    return spec
