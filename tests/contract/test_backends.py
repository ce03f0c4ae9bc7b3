"""What every backend keeps: it says what it lacks, compiles the same bytes twice, and its artefact opens."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import registry
from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.backends.worker import compile_in_worker
from edgekit.conversion.reading import read_model
from edgekit.model import GraphModel
from edgekit.package import Manifest, write_package
from edgekit.runtime import load
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision, from_json, to_json
from edgekit.target import Chip, Target
from tests.data import SHAPES

BACKENDS = registry.names("backends")
OPTIONS = CompileOptions(str(SHAPES / "calibration"), calibration_count=2, values={"float_layers": 1})


# Qualcomm's compiler pads weights in floating point with whatever was in its memory.
PADDED = {("qnn", Precision.FP16)}


def differing(one: bytes, other: bytes) -> float:
    """The share of bytes that do."""
    return float(np.mean(np.frombuffer(one, np.uint8) != np.frombuffer(other, np.uint8)))


@pytest.fixture(scope="session")
def model() -> GraphModel:
    """Smaller than it was trained for: compiling is what counts here."""
    return read_model(str(SHAPES / "shapes.safetensors"), SourceOptions(image_size=(96, 96)))


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


def compiled(model: GraphModel, backend: str, precision: Precision, work: Path) -> dict[str, bytes]:
    """What a backend leaves in a work folder, by name."""
    (work / "source").mkdir(parents=True)
    model.save(work / "source")
    artifact = compile_in_worker(target(backend), precision, OPTIONS, work)
    assert artifact.engine.artifact in artifact.files
    assert artifact.engine.name in registry.names("engines")
    return {name: (work / name).read_bytes() for name in artifact.files}


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two that know nothing of each other; shared, since measuring a model takes a while."""
    return tmp_path_factory.mktemp("cache one"), tmp_path_factory.mktemp("cache two")


@pytest.mark.parametrize(
    ("name", "precision"),
    [(name, precision) for name in BACKENDS for precision in registry.load("backends", name).precisions(target(name))],
)
def test_it_compiles_the_same_bytes_twice_and_they_run(
    name: str,
    precision: Precision,
    model: GraphModel,
    caches: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready(name)
    if getattr(registry.load("backends", name), "text", False):
        pytest.skip("it takes language models: tests/end_to_end/test_language_models.py")
    if name == "aihub":
        pytest.skip("it needs a service: tests/end_to_end/test_aihub.py")
    monkeypatch.setenv("EDGEKIT_CACHE", str(caches[0]))
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    files = compiled(model, name, precision, tmp_path / "one")
    monkeypatch.setenv("EDGEKIT_CACHE", str(caches[1]))
    monkeypatch.setenv("PYTHONHASHSEED", "2")
    again = compiled(model, name, precision, tmp_path / "somewhere" / "else")
    if (name, precision) in PADDED:
        assert {n: len(data) for n, data in again.items()} == {n: len(d) for n, d in files.items()}
        assert all(differing(again[n], files[n]) < 0.005 for n in files)
    else:
        assert again == files

    artifact = from_json(Artifact, json.loads((tmp_path / "one" / "artifact.json").read_text(encoding="utf-8")))
    spec = artifact.spec or model.spec
    assert spec is not None
    manifest = Manifest("contract", "contract", precision, artifact.engine, spec, to_json(model.source), {})
    package = write_package(tmp_path / "package", manifest, files, {})
    package.verify()
    with load(package, simulate=bool(artifact.engine.chips)) as detector:
        image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)
        detector(image)
        for output in spec.outputs:
            assert detector.outputs[output.name].shape == output.shape
            dtype = output.dtype if output.scale is None else "float32"  # integers are read as numbers
            assert detector.outputs[output.name].dtype == dtype
            assert np.isfinite(detector.outputs[output.name]).all()
