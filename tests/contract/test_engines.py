"""What every engine keeps: buffers that stay, shapes that are fixed, answers that are the library's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edgekit import registry
from edgekit.errors import IntegrityError
from edgekit.package import Package
from edgekit.runtime import EngineOptions, Session, open_session
from edgekit.runtime.engine import graph_spec
from edgekit.runtime.measuring import Effort
from edgekit.runtime.opening import engine_named
from edgekit.spec import TensorSpec
from tests.contract.conftest import GRAPHS, TEXTS

Array = np.ndarray[Any, Any]
SIMULATED = EngineOptions(1, simulate=True)


def test_every_engine_has_a_package_here() -> None:
    """A graph's passes the tests of this file, a language model's those of test_text_sessions.py."""
    assert {*GRAPHS, *TEXTS} == set(registry.names("engines"))


@pytest.mark.parametrize("name", registry.names("engines"))
def test_it_names_its_libraries_and_the_extras_that_install_them(name: str) -> None:
    from edgekit.diagnosis.installation import requirements

    engine = engine_named(name)
    installed = {d for extra in engine.extra.split(",") for d in requirements(extra)}
    assert engine.libraries and engine.extra
    assert {engine.libraries[0], *engine.companions} <= installed


@pytest.fixture(params=GRAPHS)
def package(request: pytest.FixtureRequest, package_of: Callable[[str], Package]) -> Package:
    """A package that this engine opens."""
    return package_of(request.param)


def opened(package: Package, threads: int | None = None) -> Session:
    """In the simulator where it is for a processor that is not in here."""
    return open_session(package, EngineOptions(threads, simulate=bool(package.manifest.engine.chips)))


def only_input(package: Package) -> TensorSpec:
    (tensor,) = graph_spec(package).inputs
    return tensor


def values(package: Package, seed: int) -> dict[str, Array]:
    tensor = only_input(package)
    numbers = np.random.default_rng(seed).random(tensor.shape)
    scale = 255 if np.issubdtype(tensor.dtype, np.integer) else 1
    return {tensor.name: (numbers * scale).astype(tensor.dtype)}


def test_the_input_is_one_buffer(package: Package) -> None:
    session = opened(package)
    buffer = session.input(only_input(package).name)
    assert buffer.shape == only_input(package).shape
    assert buffer.dtype == only_input(package).dtype
    session.run(values(package, 0))
    assert session.input(only_input(package).name) is buffer
    assert np.array_equal(buffer, values(package, 0)[only_input(package).name])
    with pytest.raises(KeyError):
        session.input("no such input")
    session.close()


def test_writing_the_buffer_is_passing_the_input(package: Package) -> None:
    session = opened(package)
    passed = {n: a.copy() for n, a in session.run(values(package, 1)).items()}
    session.run(values(package, 2))
    session.input(only_input(package).name)[...] = values(package, 1)[only_input(package).name]
    written = session.run()
    assert all(np.array_equal(passed[n], written[n]) for n in passed)
    session.close()


def test_outputs_have_the_shapes_listed_and_are_reused(package: Package) -> None:
    spec = graph_spec(package)
    session = opened(package)
    first = session.run(values(package, 3))
    assert list(first) == [o.name for o in spec.outputs]
    for output in spec.outputs:
        assert first[output.name].shape == output.shape
        assert first[output.name].dtype == output.dtype
    arrays, copies = dict(first), {n: a.copy() for n, a in first.items()}
    second = session.run(values(package, 4))
    for name, array in arrays.items():
        assert np.shares_memory(second[name], array)
    assert any(not np.array_equal(second[n], copies[n]) for n in copies)
    session.close()


def test_inputs_of_another_shape_are_refused(package: Package) -> None:
    tensor = only_input(package)
    session = opened(package)
    with pytest.raises(ValueError, match="broadcast"):
        session.run({tensor.name: np.zeros((1, 7, 7, 3), tensor.dtype)})
    with pytest.raises(KeyError):
        session.run({"no such input": np.zeros(1, np.float32)})
    session.close()


def test_the_same_input_gives_the_same_answer(package: Package) -> None:
    one, two = opened(package), opened(package)
    first = {n: a.copy() for n, a in one.run(values(package, 5)).items()}
    one.run(values(package, 6))
    for session in (one, two):
        again = session.run(values(package, 5))
        assert all(np.array_equal(first[n], again[n]) for n in first)
        session.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_asked_for(package: Package, threads: int) -> None:
    session = opened(package, threads)
    assert session.threads == threads
    session.close()


def test_closing_twice_is_harmless_and_leaves_the_arrays(package: Package) -> None:
    session = opened(package)
    answer = session.run(values(package, 7))
    copies = {n: a.copy() for n, a in answer.items()}
    session.close()
    session.close()
    assert all(np.array_equal(copies[n], answer[n]) for n in copies)


def bare_onnxruntime(package: Package, inputs: dict[str, Array]) -> dict[str, Array]:
    """The same artefact as anybody would run it."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    path = package.folder / package.manifest.engine.artifact
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


def bare_litert(package: Package, inputs: dict[str, Array]) -> dict[str, Array]:
    from ai_edge_litert.interpreter import Interpreter

    path = package.folder / package.manifest.engine.artifact
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    answer: dict[str, Array] = interpreter.get_signature_runner("serving_default")(**inputs)
    return answer


def bare_qnn(package: Package, inputs: dict[str, Array]) -> dict[str, Array]:
    import onnxruntime as ort

    from edgekit.runtime.engines.qnn import provider

    options = ort.SessionOptions()
    options.add_provider_for_devices([provider()], {"backend_type": "htp"})
    session = ort.InferenceSession(str(package.folder / package.manifest.engine.artifact), options)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs)))


BARE: dict[str, Callable[[Package, dict[str, Array]], dict[str, Array]]] = {
    "onnxruntime": bare_onnxruntime,
    "litert": bare_litert,
    "qnn": bare_qnn,
}


def test_answers_are_the_librarys_own(package: Package) -> None:
    engine = package.manifest.engine.name
    assert engine in BARE, "say here how to run this engine's library without edgekit"
    inputs = values(package, 8)
    session = opened(package, 1)
    ours, theirs = session.run(inputs), BARE[engine](package, inputs)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[n], theirs[n]) for n in ours)
    session.close()


def test_what_is_described_without_tensors_is_refused(package: Package, package_of: Callable[[str], Package]) -> None:
    """A manifest that gives a language model to an engine of graphs."""
    text = package_of("genai")
    engine = engine_named(package.manifest.engine.name)
    mixed = replace(text.manifest, engine=package.manifest.engine)
    with pytest.raises(IntegrityError, match="runs graphs of tensors"):
        engine.open(cast(Package, SimpleNamespace(manifest=mixed, path=package.path, read=package.read)), SIMULATED)


@pytest.mark.parametrize("name", registry.names("operators"))
def test_what_looks_inside_an_engine_tells_its_operators(name: str, package_of: Callable[[str], Package]) -> None:
    inside = registry.find("operators", name)(package_of(name), 1, Effort(3, 1, 5.0))
    assert inside.library and inside.operators


def test_nothing_is_left_in_the_home_of_the_user(package: Package, tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later would keep a device identifier and events to send there."""
    quiet = ("CI", "ORT_", "TF_BUILD", "GITHUB_", "EDGEKIT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(quiet)}
    places = {n: str(tmp_path) for n in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    simulate = bool(package.manifest.engine.chips)
    code = f"from edgekit.runtime import load; load({str(package.path)!r}, simulate={simulate}).session.run()"
    subprocess.run([sys.executable, "-B", "-c", code], env={**environment, **places}, cwd=tmp_path, check=True)
    assert [p.name for p in tmp_path.rglob("*")] == []
