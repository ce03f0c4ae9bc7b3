"""The seam between the one pipeline and what a model does: a `Task` owns its data, options, columns and judgement.

Registered in the group `edgekit.tasks`. All that depends on what a model does is asked of its task; the pipeline, the
command line and the report know none by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit import registry
from edgekit.aihub.service_options import ServiceOptions
from edgekit.backends.base import Artifact, CompileOptions
from edgekit.model import AnyModel
from edgekit.options import Option, Values
from edgekit.package import Content, Package
from edgekit.package.receipt import Reason, Receipt
from edgekit.package.search import Attempt
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.target import Target
from edgekit.tasks.columns import Column, Quality

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Request:
    """What the user asked of a conversion, checked as far as it can be before the source is read.

    values: options of the task by name, those that were given. service: of another machine that compiles, and where
    its packages are run then.
    """

    source: str
    out: Path
    target_names: tuple[str, ...] = ("cpu",)
    reading: SourceOptions = field(default_factory=SourceOptions)
    targets: tuple[Target, ...] = ()
    precisions: tuple[str, ...] = ()
    calibration: Path | None = None
    evaluation: Path | None = None
    name: str = ""
    task: str = ""
    allowed: frozenset[Reason] = frozenset()
    launches: int = 5
    device: str = ""  # where launches are timed; "" for the first of a target that can be timed at once
    values: Values = field(default_factory=dict)
    service: ServiceOptions | None = None
    merge: bool = False
    via: str = ""
    force: bool = False


@dataclass(frozen=True)
class Words:
    """What messages about models of a task say."""

    article: str  # "a detector"
    plural: str  # "detectors"
    calibration: str  # "images like those the detector will see"
    how_much: str  # after --calibration: "FOLDER; 32 to 64 images are enough"


class Data(Protocol):
    """What a request's data is: each task has its own record."""

    @property
    def calibration_count(self) -> int:
        """How many images or windows of text are quantised with; 0 without."""
        ...

    @property
    def calibration_sha256(self) -> str:
        """SHA-256 of the calibration data's content; "" without such data."""
        ...


@dataclass(frozen=True)
class Retry:
    """Another attempt: with which options, why, in words, and the row that the receipt keeps of the one before."""

    options: CompileOptions
    why: str
    row: Attempt


class Judge(Protocol):
    """Compares packages of one model with its float original."""

    def check_original(self) -> None:
        """Raises SourceError for an original that is none to compare with: read wrong, or damaged."""
        ...

    def check(self, staged: Package, artifact: Artifact, target: Target, parent: Package | None) -> Receipt:
        """The receipt of a package in the staging folder. `parent`: the float package of the same model and target."""
        ...

    def close(self) -> None:
        """Give back what the comparisons held."""
        ...


Reader = Callable[[str, SourceOptions], AnyModel]  # another source, as a model of the same task


class Task(Protocol):
    """What a model does and how that is judged. One of graphs is a `Comparison` as well (quantize/comparison.py).

    name: as manifests write it. form: of its models (edgekit/model.py). limits: what is tolerated where a target says
    nothing else, by name. judged: measurements that a verdict of accuracy goes by. evidence: measurements that a
    better known package has and a poorer one lacks.
    """

    name: str
    form: str
    words: Words
    options: tuple[Option, ...]
    limits: Mapping[str, float]
    columns: tuple[Column, ...]
    qualities: tuple[Quality, ...]
    judged: tuple[str, ...]
    evidence: tuple[str, ...]

    def data(self, request: Request) -> Any:
        """All data of a request, read and checked, as this task's own `Data`. Raises DataError before any work."""
        ...

    def canonical(self, model: AnyModel, reading: SourceOptions) -> AnyModel:
        """The model as every backend takes it, recognised. Raises UsageError for what the user must say."""
        ...

    def check(self, model: AnyModel, data: Any, request: Request) -> None:
        """Raises DataError for data that does not fit the model, UsageError for options that do not."""
        ...

    def natural(self, model: AnyModel, target: Target) -> Sequence[str]:
        """The precisions to take when none is asked for; none: the target's first."""
        ...

    def order(self, model: AnyModel, target: Target, precisions: Sequence[Precision]) -> list[Precision]:
        """The precisions to compile where packages are timed: float ones first, and one to compare the others with."""
        ...

    def suffix(self, values: Values) -> str:
        """The suffix of a package's name that tells packages with these options from others."""
        ...

    def files(self, model: AnyModel) -> Mapping[str, Content]:
        """The files that a package holds besides its artefacts, by name."""
        ...

    def retry(self, artifact: Artifact, receipt: Receipt, options: CompileOptions) -> Retry | None:
        """What to try when a package is too far from float; None: nothing better is known. `options`: the first's."""
        ...

    def remoteness(self, receipt: Receipt) -> float:
        """The distance of a package from float, by which the best of several attempts is chosen."""
        ...

    def judge(self, model: AnyModel, data: Any, request: Request, command: str, read: Reader) -> Judge:
        """`command`: what a person types to get the receipts' numbers again."""
        ...

    def advice(self, precision: Precision) -> str:
        """A hint, for an error, on what brings a quantised package nearer to float."""
        ...


def find_task(name: str) -> Task:
    """Raises MissingError for a task that is not registered."""
    task: Task = registry.load("tasks", name)
    return task


# Latency ratios to the float parent; a package trips when the whole interval is above. `slower_for_size` is for
# packages of which only the weights are small integers: people quantise those for their size.
SPEED_LIMITS: Mapping[str, float] = {"slower": 1.0, "slower_for_size": 1.5}


def limit(task_limits: Mapping[str, float], target: Target, name: str) -> float:
    """The target's own limit of that name, or else the task's default."""
    return target.tolerance.get(name, task_limits[name])
