"""An option that has no effect on what was asked is an error: one check for the command line and for Python."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from edgekit import registry
from edgekit.backends.base import Backend, Service
from edgekit.devices.address import simulator_of
from edgekit.errors import UsageError
from edgekit.options import Option, OptionValue, Values
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.target import Target
from edgekit.tasks.base import Request, Task, find_task

Job = tuple[Target, list[Precision]]


def parse_values(given: Mapping[str, object], task: Task, service: Service | None) -> tuple[Values, Values]:
    """The task's own and the service's own among what was given. Raises UsageError for another's, for what is no
    option, and for values that mean nothing."""
    own = {o.name: o for o in task.options if o.use != "reading"}
    remote = {o.name: o for o in service.options} if service else {}
    values: dict[str, OptionValue] = {}
    service_values: dict[str, OptionValue] = {}
    for name, value in given.items():
        if value is None:
            continue
        if name in own:
            values[name] = own[name].parse(value)
        elif name in remote:
            service_values[name] = remote[name].parse(value)
        elif value is not False:  # a flag that is not set asks for nothing
            raise _not_here(name, task)
    stated = {o.name: o.default for o in task.options if o.use == "compiling"}
    return {n: v for n, v in values.items() if stated.get(n) != v}, service_values


def check_reading(reading: SourceOptions, task: Task) -> None:
    """Raises UsageError for what is said of the source and is for another task's."""
    own = {o.name for o in task.options}
    every = (o.name for t in registry.names("tasks") for o in find_task(t).options)
    for name in set(every) & set(reading.stated) - own:
        raise _not_here(name, task)


def check_needs(values: Values, task: Task, request: Request) -> None:
    """Raises UsageError for an option that says more about one that was not given."""
    there = {"calibration": request.calibration, "eval": request.evaluation}
    for option in _given(values, task):
        if option.needs and there[option.needs] is None:
            raise UsageError(
                f"{option.flag} says nothing without --{option.needs}", "", f"add --{option.needs}, or leave it out"
            )


def check_effect(values: Values, task: Task, jobs: Sequence[Job], remote: bool) -> None:
    """Raises UsageError for an option that would change none of the packages."""
    every = [(target, precision) for target, precisions in jobs for precision in precisions]
    for option in _given(values, task):
        if not any(_changes(option, target, precision, remote) for target, precision in every):
            packages = ", ".join(f"{t.name} {p}" for t, p in every)
            raise UsageError(
                f"{option.flag} is for {option.packages}",
                f"it changes nothing in {packages}",
                "leave it out, or ask for such a package as well",
            )


def fitting(values: Values, task: Task, target: Target, precision: Precision) -> dict[str, OptionValue]:
    """The options that a backend gets for such a package: those given that change it."""
    compiled = [o for o in _given(values, task) if o.use == "compiling"]
    return {o.name: values[o.name] for o in compiled if _changes(o, target, precision, remote=False)}


def _changes(option: Option, target: Target, precision: Precision, remote: bool) -> bool:
    if option.simulated:
        return remote or bool(simulator_of(target.devices))
    if option.use != "compiling":
        return True
    backend: Backend = registry.load("backends", target.backend)
    return option.name in backend.options and precision in option.precisions


def _given(values: Values, task: Task) -> Iterable[Option]:
    return (o for o in task.options if o.name in values)


def _not_here(name: str, task: Task) -> UsageError:
    flag = "--" + name.replace("_", "-")
    for name_of_service in registry.names("services"):
        service: Service = registry.load("services", name_of_service)
        if any(o.name == name for o in service.options):
            return UsageError(f"{flag} is for {service.title}", "", f"add --via {name_of_service}, or leave it out")
    if any(o.name == name for o in task.options):
        return UsageError(
            f"{name} says how the source is read",
            "",
            f"pass options=SourceOptions(…) of edgekit.sources.base, or {flag}",
        )
    for other in (find_task(n) for n in registry.names("tasks")):
        if any(o.name == name for o in other.options):
            return UsageError(
                f"{flag} is for {other.words.plural}", f"this source is {task.words.article}", "leave it out"
            )
    known = [o.name for o in task.options]
    near = difflib.get_close_matches(name, known, 1)
    return UsageError(
        f"A conversion has no option {name}",
        f"did you mean {near[0]}?" if near else "",
        f"{task.words.plural} have {', '.join(known)}",
    )
