"""The seam between a model and what a runtime opens: a `Backend` compiles."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.aihub.service_options import ServiceOptions
from edgekit.model import AnyModel
from edgekit.options import Option, OptionValue, Values
from edgekit.package import EngineRequirement
from edgekit.package.receipt import Measurement
from edgekit.package.search import SearchRow, read_row
from edgekit.progress import Progress
from edgekit.spec import ModelSpec, Precision, from_json, read_spec, to_json
from edgekit.target import Target

_FILE = "artifact.json"


@dataclass(frozen=True)
class Availability:
    """`missing` is "" when the backend can be used; `install` is the command that helps."""

    missing: str = ""
    install: str = ""
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CompileOptions:
    """What an artefact depends on besides the model, the target and the precision.

    calibration: the data to quantise with, of which `calibration_count` images or windows of text are used;
    `calibration_sha256` is of what they hold. values: of options that the backend lists, those that were given.
    service: what compiles in place of this machine.
    """

    calibration: str = ""
    calibration_count: int = 64
    calibration_sha256: str = ""
    values: dict[str, OptionValue] = field(default_factory=dict)
    service: ServiceOptions | None = None

    def whole(self, name: str) -> int | None:
        """The whole number given for an option; None where nothing was."""
        return int(self.values[name]) if name in self.values else None

    def text(self, name: str) -> str:
        """The text given for an option; "" where nothing was."""
        return str(self.values.get(name, ""))


@dataclass(frozen=True)
class Artifact:
    """What a backend leaves in its work folder. `files` are names in that folder; in the package they lie where they
    do below `root`.

    `spec`: how the artefact is used, where that is not the model's own way.
    """

    files: tuple[str, ...]
    engine: EngineRequirement
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    search: tuple[SearchRow, ...] = ()
    notes: tuple[str, ...] = ()
    spec: ModelSpec | None = None
    measured: tuple[Measurement, ...] = ()
    root: str = ""


def write_artifact(artifact: Artifact, folder: Path) -> None:
    (folder / _FILE).write_text(json.dumps(to_json(artifact), sort_keys=True), encoding="utf-8")


def read_artifact(folder: Path) -> Artifact:
    """What `write_artifact` wrote."""
    data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return from_json(Artifact, data, {ModelSpec: read_spec, SearchRow: read_row})


class Backend(Protocol):
    """Compiles models of one form: `graph` or `checkpoint` (edgekit/model.py). `options`: names of those options of
    tasks that it looks at."""

    name: str
    form: str
    options: tuple[str, ...]

    def available(self) -> Availability:
        """Whether it can compile here, and by what."""
        ...

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        """Those that it can make for `target`, of those that the target's TOML lists."""
        ...

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        """Write the artefact into `work`. Deterministic: same arguments, same bytes."""
        ...


class Service(Protocol):
    """Compiles elsewhere, in place of a target's own backend: `--via NAME`. `title`: what people call it."""

    title: str
    options: tuple[Option, ...]

    def target(self, target: Target) -> Target:
        """The target as this service compiles graphs for it. Raises UsageError where it does not."""
        ...

    def request(self, targets: Sequence[Target], values: Values) -> ServiceOptions:
        """What to ask, once the service has said that it is ready. Raises UsageError for options that it would
        refuse, MissingError without client or token, RemoteError when it does not take the token."""
        ...
