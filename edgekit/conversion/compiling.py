"""A model compiled in a worker, kept by content, and the manifest of what came out."""

from __future__ import annotations

from pathlib import Path

from edgekit import cache, registry
from edgekit.backends.base import Artifact, Backend, CompileOptions, read_artifact
from edgekit.backends.worker import compile_in_worker, repeat_command
from edgekit.model import AnyModel, versions
from edgekit.package import Manifest
from edgekit.spec import Precision, to_json
from edgekit.target import Target


def compiled(model: AnyModel, target: Target, precision: Precision, options: CompileOptions) -> tuple[Artifact, Path]:
    """The artefact and the folder it is in."""
    backend: Backend = registry.load("backends", target.backend)
    key = cache.key(
        model=model.fingerprint,
        spec=to_json(model.spec),
        target=to_json(target),
        precision=precision.value,
        calibration=(options.calibration_sha256, options.calibration_count),
        values=options.values,
        service=to_json(options.service),
        tools={**versions(model.tools), **backend.available().versions},
    )

    def make(folder: Path) -> None:
        (folder / "source").mkdir()
        model.save(folder / "source")
        compile_in_worker(target, precision, options, folder)

    folder = cache.step(f"{precision}-{key}", make)
    return read_artifact(folder), folder


def described(title: str, model: AnyModel, target: Target, precision: Precision, artifact: Artifact) -> Manifest:
    """The manifest of a package named `title`."""
    spec = artifact.spec or model.spec
    assert spec is not None
    return Manifest(
        name=title,
        target=target.name,
        precision=precision,
        engine=artifact.engine,
        model=spec,
        source=to_json(model.source),
        toolchain={
            "versions": {**versions(model.tools), **artifact.versions},
            "backend": target.backend,
            "settings": artifact.settings,
        },
    )


def repeats(folder: Path) -> str:
    """The command that compiles again what is in a folder."""
    return repeat_command(Path("$EDGEKIT_CACHE") / "steps" / folder.name / "job.json")
