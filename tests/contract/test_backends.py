"""What every backend keeps: it says what it lacks, compiles the same bytes twice, and its artefact opens."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import registry
from edgekit.backends.base import Availability, CompileOptions, read_artifact
from edgekit.backends.worker import compile_in_worker
from edgekit.conversion.reading import read_model
from edgekit.model import AnyModel
from edgekit.package import Manifest, write_package
from edgekit.runtime import load
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision, from_json, to_json
from edgekit.target import Chip, Target
from tests.data import SHAPES

BACKENDS = registry.names("backends")
OPTIONS = {
    "graph": CompileOptions(str(SHAPES / "calibration"), calibration_count=2, values={"float_layers": 1}),
    "checkpoint": CompileOptions(),
}


# Qualcomm's compiler pads weights in floating point with whatever was in its memory.
PADDED = {("qnn", Precision.FP16)}


def differing(one: bytes, other: bytes) -> float:
    """The share of bytes that do."""
    return float(np.mean(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Precision], AnyModel]:
    """A small model of a form, by what it is to become; each is read once."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def read(kind: str) -> AnyModel:
        if kind == "graph":  # smaller than it was trained for: compiling is what counts here
            return read_model(str(SHAPES / "shapes.safetensors"), SourceOptions(image_size=(96, 96)))
        from tests import language

        path = language.bitnet(folder / kind) if kind == "ternary" else language.folder(folder / kind)
        return read_model(str(path), SourceOptions(context=128))

    def of(form: str, precision: Precision) -> AnyModel:
        return read("ternary" if (form, precision) == ("checkpoint", Precision.TERNARY) else form)

    return of


def target(backend: str, *precisions: Precision) -> Target:
    """For every backend; the chip is for those that compile for one."""
    chip = Chip("SM8750", 69, 79, aihub=("Samsung Galaxy S25",))
    return Target("contract", "any", backend, precisions or tuple(Precision), chips=(chip,))


def ready(name: str) -> Any:
    """The backend, or a skip that says what installs it."""
    backend = registry.load("backends", name)
    have = backend.available()
    if have.missing:
        pytest.skip(f"{name}: {have.missing}; {have.install}")
    return backend


@pytest.mark.parametrize("name", BACKENDS)
def test_it_goes_by_the_name_it_is_registered_under(name: str) -> None:
    assert registry.load("backends", name).name == name
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)


@pytest.mark.parametrize("name", BACKENDS)
def test_it_says_what_it_lacks_and_what_installs_that(name: str) -> None:
    have = registry.load("backends", name).available()
    assert bool(have.missing) == bool(have.install)
    assert all(version[0].isdigit() for version in have.versions.values())
    assert from_json(Availability, to_json(have)) == have


@pytest.mark.parametrize("name", BACKENDS)
def test_its_precisions_are_those_of_the_target(name: str) -> None:
    backend = registry.load("backends", name)
    able = backend.precisions(target(name))
    assert able and len(set(able)) == len(able)
    for precision in Precision:
        assert backend.precisions(target(name, precision)) == ((precision,) if precision in able else ())
    backwards = tuple(reversed(able))
    assert backend.precisions(target(name, *backwards)) == backwards, "the target's first is its default"


def compiled(model: AnyModel, backend: str, precision: Precision, work: Path) -> dict[str, bytes]:
    """What a backend leaves in a work folder, by name."""
    (work / "source").mkdir(parents=True)
    model.save(work / "source")
    artifact = compile_in_worker(target(backend), precision, OPTIONS[model.form], work)
    assert (Path(artifact.root) / artifact.engine.artifact).as_posix() in artifact.files
    assert artifact.engine.name in registry.names("engines")
    return {name: (work / name).read_bytes() for name in artifact.files}


@pytest.fixture(scope="session")
def other_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It knows nothing of this run's; shared by these tests, since measuring a model takes a while."""
    return tmp_path_factory.mktemp("other cache")


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, precision) for name in BACKENDS for precision in registry.load("backends", name).precisions(target(name))],
)
def test_it_compiles_the_same_bytes_twice_and_they_run(
    name: str,
    precision: Precision,
    models: Callable[[str, Precision], AnyModel],
    other_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = models(ready(name).form, precision)
    if name == "aihub":
        pytest.skip("it needs a service: tests/end_to_end/test_aihub.py")
    files = compiled(model, name, precision, tmp_path / "one")
    monkeypatch.setenv("EDGEKIT_CACHE", str(other_cache))
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    again = compiled(model, name, precision, tmp_path / "somewhere" / "else")
    if (name, precision) in PADDED:
        assert {n: len(data) for n, data in again.items()} == {n: len(d) for n, d in files.items()}
        assert all(differing(again[n], files[n]) < 0.005 for n in files)
    else:
        assert again == files

    artifact = read_artifact(tmp_path / "one")
    spec, root = artifact.spec or model.spec, Path(artifact.root)
    assert spec is not None
    manifest = Manifest("contract", "contract", precision, artifact.engine, spec, to_json(model.source), {})
    contents = {Path(n).relative_to(root).as_posix(): data for n, data in files.items()}
    package = write_package(tmp_path / "package", manifest, contents, {})
    package.verify()
    with load(package, simulate=bool(artifact.engine.chips)) as runner:
        for name, values in runner.probe().items():
            assert np.isfinite(values).all(), name
