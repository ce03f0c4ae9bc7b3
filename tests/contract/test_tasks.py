"""What every task keeps: it is registered whole, its options and limits have names of their own, its words are there."""

from __future__ import annotations

import dataclasses
import re

import pytest

from edgekit import registry
from edgekit.errors import UsageError
from edgekit.model import FORMS
from edgekit.options import Option
from edgekit.package.receipt import GROUPS
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.target import targets
from edgekit.tasks.base import SPEED_LIMITS, Task, find_task

TASKS = registry.names("tasks")


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> Task:
    return find_task(request.param)


def test_it_is_registered_whole(task: Task) -> None:
    assert task.name in TASKS and task.form in FORMS
    spec, runner = registry.find("specs", task.name), registry.find("runners", task.name)
    assert spec.task == task.name and dataclasses.is_dataclass(spec)
    assert runner.noun == spec.noun


def test_some_target_takes_its_models(task: Task) -> None:
    from edgekit.conversion.request import for_task

    able, refusals = [], []
    for target in targets().values():
        try:
            able.append(for_task(target, task))
        except UsageError as refusal:
            refusals.append(refusal)
    assert able and all(task.words.plural in r.what and r.next for r in refusals)
    for target in able:
        assert registry.load("backends", target.backend).form == task.form


def test_its_options_mean_one_thing_each(task: Task) -> None:
    names = [o.name for o in task.options]
    assert len(set(names)) == len(names)
    fields = {f.name for f in dataclasses.fields(SourceOptions)} | {"resize", "color", "mean", "std"}
    for option in task.options:
        assert re.fullmatch(r"[a-z][a-z_]*", option.name) and option.help.endswith(".")
        assert option.use != "reading" or option.name in fields
        assert not option.needs or option.needs in ("calibration", "eval")
        if option.default is not None:
            assert option.parse(option.default) == option.default
        for choice in option.choices:
            assert str(option.parse(choice)) == choice
        if option.use == "compiling" and option.precisions != tuple(Precision):
            assert option.packages, "an error says which packages it is for"


@pytest.mark.parametrize("value", [None, "", "nonsense", -1, 10**9, float("nan"), True, [], object()])
def test_options_refuse_what_means_nothing(task: Task, value: object) -> None:
    """With what they take, and never with what Python says."""
    for option in task.options:
        if takes(option, value):
            continue
        with pytest.raises(UsageError) as refusal:
            option.parse(value)
        assert refusal.value.what.startswith(option.flag) and refusal.value.next.startswith("use ")


def takes(option: Option, value: object) -> bool:
    """Texts of any kind, and whole numbers without an upper bound."""
    if option.choices:
        return False
    if option.kind is str:
        return value is not None and not isinstance(value, bool)
    return option.kind is int and value == 10**9


def test_an_options_name_means_the_same_in_every_task() -> None:
    kinds: dict[str, set[object]] = {}
    for name in TASKS:
        for option in find_task(name).options:
            kinds.setdefault(option.name, set()).add((option.kind, option.use))
    assert not {name: kind for name, kind in kinds.items() if len(kind) > 1}


def test_its_limits_and_figures_have_names(task: Task) -> None:
    assert task.limits and not task.limits.keys() & SPEED_LIMITS.keys()
    assert all(value > 0 for value in task.limits.values())
    for figure in (*task.columns, *task.qualities):
        assert figure.group in GROUPS
    assert task.judged and task.evidence and task.qualities
    assert any(column.brief for column in task.columns), "the table that convert prints has a figure of it"


def test_it_advises_on_every_precision(task: Task) -> None:
    assert all(task.advice(precision) for precision in Precision if not precision.is_float)
    assert all(dataclasses.astuple(task.words))
    assert task.suffix({}) == ""
