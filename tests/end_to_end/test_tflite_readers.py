"""TFLite packages outside the environment that made them: each library that runs them, in an
environment of its own, and the metadata standard's own reader."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.package import Package
from edgekit.runtime import EngineOptions, open_session
from tests.data import ROOT
from tests.environment import Environment, fresh
from tests.unit.test_tflite_metadata import SPECS, attach_metadata, metadata, model_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.version_info >= (3, 12) or (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="tflite-runtime and tflite-support have no wheels for this Python",
    ),
]

# Prints what the engine of a package answers to noise, and which library it was.
ANSWER = """
import sys
import numpy
from edgekit.package import Package
from edgekit.runtime import EngineOptions, open_session
for path, inputs, outputs in zip(*[iter(sys.argv[1:])] * 3):
    session = open_session(Package(path), EngineOptions(1))
    numpy.savez(outputs, **session.run(dict(numpy.load(inputs))))
assert not {"torch", "onnx", "click", "tensorflow"} & set(sys.modules)
print(*sorted({"ai_edge_litert", "tflite_runtime"} & set(sys.modules)))
"""


@pytest.fixture(scope="module", params=["ai-edge-litert", "tflite-runtime==2.14.0 numpy<2"], ids=["litert", "old"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """edgekit as on a device, with one of the two libraries."""
    made = fresh(tmp_path_factory.mktemp("device"), pip=False)
    made.install(*request.param.split(), str(ROOT))
    return made


def test_both_libraries_give_the_same_answers(
    environment: Environment, tflite_packages: dict[str, Path], tmp_path: Path
) -> None:
    """The same but for the last bits of floating point; 8-bit networks magnify those."""
    words, here = [], {}
    opened = dict(tflite_packages)
    if "tflite-runtime" in environment.installed():  # it cannot turn 8-bit numbers into 16-bit ones
        refused = environment.run(
            "python", "-P", "-m", "edgekit.devices.launch", opened.pop("integer"), "--iterations", 3
        )
        assert "tflite_runtime cannot open this package" in refused.stdout
    for name, path in opened.items():
        spec = Package(path).manifest.model.input
        limits = np.iinfo(spec.dtype) if spec.dtype != "float32" else None
        noise = np.random.default_rng(3).random(spec.shape)
        low, high = (limits.min, limits.max) if limits else (0, 1)
        inputs = {spec.name: (low + noise * (high - low)).astype(spec.dtype)}
        np.savez(tmp_path / f"{name}-in.npz", **inputs)
        words += [path, tmp_path / f"{name}-in.npz", tmp_path / f"{name}-out.npz"]
        session = open_session(Package(path), EngineOptions(1))
        here[name] = {n: a.copy() for n, a in session.run(inputs).items()}
    ran = environment.run("python", "-P", "-c", ANSWER, *words)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() in ("ai_edge_litert", "tflite_runtime")
    for name, expected in here.items():
        there = np.load(tmp_path / f"{name}-out.npz")
        scale = {o.name: o.scale or 1 for o in Package(tflite_packages[name]).manifest.model.outputs}
        far = {"fp32": 1e-4, "fp16": 1e-4}.get(name, 0.1)
        scores = np.abs(there["scores"].astype(float) - expected["scores"]) * scale["scores"]
        assert scores.max() < far
        sure = (expected["scores"][0] * scale["scores"]).max(0) > 0.3
        boxes = np.abs(there["boxes"].astype(float) - expected["boxes"])[0, sure] * scale["boxes"]
        assert boxes.max(initial=0) < 80 * far


def test_tflite_runtime_beside_numpy_2_says_what_to_do(tmp_path: Path) -> None:
    made = fresh(tmp_path, pip=False)
    made.install("tflite-runtime==2.14.0", "numpy>=2", str(ROOT))
    ran = made.python("from edgekit.runtime.engines.libraries import litert; litert()")
    assert "pip install 'numpy<2'" in ran.stderr


READER = """
import ctypes, json, sys
import libusb_package
ctypes.CDLL(str(libusb_package.get_library_path()))  # the reader's library is linked with it
from tensorflow_lite_support.metadata.cc.python import _pywrap_metadata_version
from tensorflow_lite_support.metadata.python.metadata import MetadataDisplayer
for path in sys.argv[1:]:
    shown = MetadataDisplayer.with_model_file(path)
    print(json.dumps({
        "metadata": json.loads(shown.get_metadata_json()),
        "version": _pywrap_metadata_version.GetMinimumMetadataParserVersion(shown.get_metadata_buffer()),
        "files": {n: shown.get_associated_file_buffer(n).decode()
                  for n in shown.get_packed_associated_file_list()},
    }))
"""


def test_the_standards_own_reader_reads_the_same(tmp_path: Path) -> None:
    environment = fresh(tmp_path, pip=False)
    environment.install("tflite-support==0.4.4", "libusb-package")
    paths = []
    for name, spec in SPECS.items():
        paths.append(tmp_path / f"{name}.tflite")
        paths[-1].write_bytes(attach_metadata(model_for(spec), spec, name))
    ran = environment.run("python", "-c", READER, *paths)
    assert ran.returncode == 0, ran.stderr
    for line, path, spec in zip(ran.stdout.splitlines(), paths, SPECS.values(), strict=True):
        found = json.loads(line)
        assert found["version"] == "1.0.0"
        assert found["files"].keys() == ({"labels.txt"} if spec.labels else set())
        if spec.labels:
            assert found["files"]["labels.txt"].split("\n")[1:3] == ["Straße", "class 2"]
        assert rounded(found["metadata"]) == rounded(metadata(path.read_bytes()))


def rounded(found: Any) -> Any:
    if isinstance(found, dict):
        return {k: rounded(v) for k, v in found.items()}
    if isinstance(found, list):
        return [rounded(v) for v in found]
    return round(found, 3) if isinstance(found, float) else found
