"""What a manifest says of a model, by its task: the group `edgekit.specs` has one dataclass for each."""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeVar, cast

from edgekit import registry
from edgekit.errors import IntegrityError, UsageError
from edgekit.spec.plain import from_json
from edgekit.system.distribution import install


class ModelSpec(Protocol):
    """A frozen dataclass of plain values. A manifest that holds one is read without the library that runs it."""

    noun: ClassVar[str]  # what such a model is called: "detector"
    verb: ClassVar[str]  # the command that uses one: "edgekit detect PACKAGE IMAGE"

    @property
    def task(self) -> str: ...

    @property
    def working_bytes(self) -> int:
        """Memory that the model keeps between steps while it runs, such as a KV cache; 0 for one that keeps none."""
        ...

    @property
    def files(self) -> tuple[str, ...]:
        """Names of files that a package has for this besides its artefacts."""
        ...

    def facts(self) -> list[tuple[str, str]]:
        """What people are shown of the model: names and values."""
        ...

    def check(self) -> None:
        """Raises ValueError for what no engine should be asked to do."""
        ...


S = TypeVar("S", bound=ModelSpec)


def spec_as(spec: ModelSpec | None, kind: type[S], name: str) -> S:
    """The spec of a model called `name`, of a task that the caller knows. Raises UsageError for another task's."""
    if isinstance(spec, kind):
        return spec
    task, verb = (spec.task, spec.verb) if spec else ("not known", "")
    raise UsageError(f"{name} is no {kind.noun}", f"its task is {task}", verb)


def read_spec(data: object) -> ModelSpec:
    """A spec from its JSON value, checked. Raises ValueError, and IntegrityError for a task that is not known."""
    if not isinstance(data, dict):
        raise ValueError("a model is described by an object")
    task = data.get("task")
    if not isinstance(task, str) or task not in registry.names("specs"):
        raise IntegrityError(
            f"A model for the task {str(task)[:60]!r} is not one this edgekit knows",
            f"it knows {', '.join(registry.names('specs'))}",
            f"{install(upgrade=True)}, or install the extension that provides it",
        )
    spec = cast(ModelSpec, from_json(registry.find("specs", task), data))
    spec.check()
    return spec
