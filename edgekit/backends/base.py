"""The seam between a model and what a runtime opens: a `Backend` compiles."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.model import AnyModel
from edgekit.package import EngineRequirement
from edgekit.package.receipt import Measurement
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
    """`float_layers`: how many of the most sensitive regions to leave in float; None: decide.
    `extra`: what only some backends understand; one for language models lists its own in `options`.
    """

    calibration: str = ""
    calibration_images: int = 64
    float_layers: int | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Artifact:
    """What a backend leaves in its work folder. `files` are names in that folder.

    `spec`: how the artefact is used, where that is not the model's own way.
    """

    files: tuple[str, ...]
    engine: EngineRequirement
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    search: tuple[dict[str, Any], ...] = ()
    notes: tuple[str, ...] = ()
    spec: ModelSpec | None = None
    measured: tuple[Measurement, ...] = ()


def write_artifact(artifact: Artifact, folder: Path) -> None:
    (folder / _FILE).write_text(json.dumps(to_json(artifact), sort_keys=True), encoding="utf-8")


def read_artifact(folder: Path) -> Artifact:
    """What `write_artifact` wrote."""
    data = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return from_json(Artifact, data, {ModelSpec: read_spec})


class Backend(Protocol):
    name: str

    def available(self) -> Availability: ...

    def precisions(self, target: Target) -> tuple[Precision, ...]: ...

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
