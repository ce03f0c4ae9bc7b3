"""What is asked of a conversion, completed and checked before the source is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from edgekit import registry
from edgekit.backends.base import Backend, Service
from edgekit.conversion.options import Job, check_effect, check_needs, check_reading, parse_values
from edgekit.conversion.precisions import jobs
from edgekit.devices.address import timed_device
from edgekit.errors import UsageError
from edgekit.package import title_of
from edgekit.package.receipt import Reason
from edgekit.target import Target, find_target, merge
from edgekit.tasks.base import SPEED_LIMITS, Request, Task, find_task
from edgekit.tasks.speed import check_device


def complete(request: Request, task: Task, given: Mapping[str, object]) -> Request:
    """`request` with its targets, the options of its task and of its service, `given` by name.

    Raises UsageError for what cannot be done and for options without effect, MissingError for backends that are not
    ready, RemoteError for a service that is not.
    """
    if request.launches == 1:
        raise UsageError("One launch is not a measurement", "", "use --launches 2 or more, or 0 for none")
    if request.name and request.name != title_of(request.name):
        raise UsageError(
            f"--name {request.name} is no file name", "packages are folders in --out", f"use {title_of(request.name)}"
        )
    service = _service(request.via)
    check_reading(request.reading, task)
    values, service_values = parse_values(given, task, service)
    check_needs(values, task, request)
    targets = [find_target(name) for name in dict.fromkeys(request.target_names)]
    targets = [merge(targets)] if request.merge else targets
    targets = [service.target(t) for t in targets] if service else targets
    targets = [for_task(t, task) for t in targets]
    for target in targets:
        _check_tolerance(target)
    _check_device(request, targets)
    planned = jobs(targets, request.precisions, request.calibration, task.words)
    if request.precisions:
        check_effect(values, task, planned, service is not None)
    service_options = service.request(targets, service_values) if service else None
    return replace(request, targets=tuple(targets), values=values, service=service_options)


def planned_jobs(request: Request, task: Task, natural: Mapping[str, Sequence[str]]) -> list[Job]:
    """The precisions to make for each target; `natural`: by target, those to take where none is asked for. Raises
    UsageError as `complete` does, since only now all is known."""
    planned = [
        job
        for target in request.targets
        for job in jobs([target], request.precisions or tuple(natural[target.name]), request.calibration, task.words)
    ]
    check_effect(request.values, task, planned, request.service is not None)
    return planned


def for_task(target: Target, task: Task) -> Target:
    """The target as models of a task are compiled for it. Raises UsageError where there is no way."""
    if task.name in target.tasks:
        return target.with_support(target.tasks[task.name])
    backend: Backend = registry.load("backends", target.backend)
    if backend.form == task.form:
        return target
    raise UsageError(
        f"{target.name} takes no {task.words.plural}", "", "use -t cpu; edgekit targets lists what there is"
    )


def reasons(names: Collection[str]) -> frozenset[Reason]:
    """The reasons that do not refuse a package. Raises UsageError for a reason that is none."""
    unknown = [n for n in names if n not in list(Reason)]
    if unknown:
        raise UsageError(f"--allow does not know {unknown[0]}", "", f"reasons: {', '.join(Reason)}")
    return frozenset(Reason(n) for n in names)


def _service(via: str) -> Service | None:
    if not via:
        return None
    known = registry.names("services")
    if via not in known:
        raise UsageError(f"--via {via} is not known", "", f"there is {', '.join(f'--via {n}' for n in known)}")
    service: Service = registry.load("services", via)
    return service


def _check_device(request: Request, targets: Sequence[Target]) -> None:
    if not request.device:
        return
    if not request.launches:
        raise UsageError(
            "--device says where launches are timed, and --launches 0 leaves them out", "", "leave one out"
        )
    if not any(timed_device(t.devices, request.device) for t in targets):
        kinds = {t.name: ", ".join(dict.fromkeys(a.partition(":")[0] for a in t.devices)) for t in targets}
        names = "; ".join(f"{name} on {known or 'none'}" for name, known in kinds.items())
        raise UsageError(
            f"convert does not time {', '.join(kinds)} on {request.device}",
            f"it times {names} (simulators never)",
            "edgekit profile PACKAGE -d DEVICE measures a package that is made",
        )
    check_device(request.device)  # before the minutes that a conversion takes


def _check_tolerance(target: Target) -> None:
    known = {*SPEED_LIMITS, *(name for t in registry.names("tasks") for name in find_task(t).limits)}
    for name in target.tolerance:
        if name not in known:
            raise UsageError(
                f"The target {target.name} tolerates {name}, which nothing measures",
                "",
                f"limits: {', '.join(sorted(known))} (docs/format.md)",
            )
