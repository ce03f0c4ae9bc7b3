"""What every engine keeps: buffers that stay, shapes that are fixed, answers that are the library's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit import registry
from edgekit.package import Package
from edgekit.runtime import EngineOptions, open_session
from edgekit.spec import DetectionSpec

Array = np.ndarray[Any, Any]
ENGINES = registry.names("engines")


@pytest.fixture(params=ENGINES)
def package(request: pytest.FixtureRequest, packages: dict[str, Path], tflite_packages: dict[str, Path]) -> Package:
    """A package that this engine opens."""
    for path in (*packages.values(), *tflite_packages.values()):
        if (found := Package(path)).manifest.engine.name == request.param:
            return found
    pytest.skip(f"no sample package runs on {request.param}")


def noise(spec: DetectionSpec, seed: int) -> dict[str, Array]:
    shape, kind = spec.input.shape, np.dtype(spec.input.dtype)
    values = np.random.default_rng(seed).random(shape)
    return {spec.input.name: (values * (255 if kind == np.uint8 else 1)).astype(kind)}


def test_the_input_is_one_buffer(package: Package) -> None:
    spec = package.manifest.model
    session = open_session(package)
    buffer = session.input(spec.input.name)
    assert buffer.shape == spec.input.shape
    assert buffer.dtype == spec.input.dtype
    session.run(noise(spec, 0))
    assert session.input(spec.input.name) is buffer
    assert np.array_equal(buffer, noise(spec, 0)[spec.input.name])
    with pytest.raises(KeyError):
        session.input("no such input")
    session.close()


def test_writing_the_buffer_is_passing_the_input(package: Package) -> None:
    spec = package.manifest.model
    session = open_session(package)
    passed = {n: a.copy() for n, a in session.run(noise(spec, 1)).items()}
    session.run(noise(spec, 2))
    session.input(spec.input.name)[...] = noise(spec, 1)[spec.input.name]
    written = session.run()
    assert all(np.array_equal(passed[n], written[n]) for n in passed)
    session.close()


def test_outputs_have_the_shapes_listed_and_are_reused(package: Package) -> None:
    spec = package.manifest.model
    session = open_session(package)
    first = session.run(noise(spec, 3))
    assert list(first) == [o.name for o in spec.outputs]
    for output in spec.outputs:
        assert first[output.name].shape == output.shape
        assert first[output.name].dtype == output.dtype
    arrays, copies = dict(first), {n: a.copy() for n, a in first.items()}
    second = session.run(noise(spec, 4))
    for name, array in arrays.items():
        assert np.shares_memory(second[name], array)
    assert any(not np.array_equal(second[n], copies[n]) for n in copies)
    session.close()


def test_inputs_of_another_shape_are_refused(package: Package) -> None:
    name = package.manifest.model.input.name
    session = open_session(package)
    with pytest.raises(ValueError, match="broadcast"):
        session.run({name: np.zeros((1, 7, 7, 3), np.float32)})
    with pytest.raises(KeyError):
        session.run({"no such input": np.zeros(1, np.float32)})
    session.close()


def test_the_same_input_gives_the_same_answer(package: Package) -> None:
    spec = package.manifest.model
    one, two = open_session(package), open_session(package)
    first = {n: a.copy() for n, a in one.run(noise(spec, 5)).items()}
    one.run(noise(spec, 6))
    for session in (one, two):
        again = session.run(noise(spec, 5))
        assert all(np.array_equal(first[n], again[n]) for n in first)
        session.close()


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_are_those_asked_for(package: Package, threads: int) -> None:
    session = open_session(package, EngineOptions(threads))
    assert session.threads == threads
    session.close()


def test_closing_twice_is_harmless_and_leaves_the_arrays(package: Package) -> None:
    spec = package.manifest.model
    session = open_session(package)
    answer = session.run(noise(spec, 7))
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


BARE: dict[str, Callable[[Package, dict[str, Array]], dict[str, Array]]] = {
    "onnxruntime": bare_onnxruntime,
    "litert": bare_litert,
}


def test_answers_are_the_librarys_own(package: Package) -> None:
    engine = package.manifest.engine.name
    assert engine in BARE, "say here how to run this engine's library without edgekit"
    inputs = noise(package.manifest.model, 8)
    session = open_session(package, EngineOptions(1))
    ours, theirs = session.run(inputs), BARE[engine](package, inputs)
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[n], theirs[n]) for n in ours)
    session.close()


def test_nothing_is_left_in_the_home_of_the_user(package: Package, tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later would keep a device identifier and events to send there."""
    quiet = ("CI", "ORT_", "TF_BUILD", "GITHUB_", "EDGEKIT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(quiet)}
    places = {n: str(tmp_path) for n in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")}
    code = f"from edgekit.runtime import load; load({str(package.path)!r}).session.run()"
    subprocess.run([sys.executable, "-B", "-c", code], env={**environment, **places}, cwd=tmp_path, check=True)
    assert [p.name for p in tmp_path.rglob("*")] == []
