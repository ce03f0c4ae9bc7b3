"""TFLite files that lie, in packages whose hashes are right: one clear error each, and no crash."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import IntegrityError
from edgekit.package import Package, write_package
from edgekit.runtime import load
from edgekit.spec import DetectionSpec
from edgekit.tflite.writer import pack, unpack
from tests.conftest import Ran

Edgekit = Callable[..., Ran]
Change = Callable[[Any, Any], Any]  # of a ModelT and its first SubGraphT
MODEL = "model.tflite"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("picture") / "grey.png"
    Image.new("RGB", (40, 30), "grey").save(path)
    return path


def package(good: Path, out: Path, data: bytes, model: DetectionSpec | None = None) -> Path:
    """A copy of a good package around another file, with hashes and a receipt that fit it."""
    source = Package(good)
    files = {n: source.read(n) for n in source.manifest.files} | {MODEL: data}
    manifest = replace(source.manifest, model=model or source.manifest.model)
    return write_package(out / "bad", manifest, files, {"schema": "edgekit.receipt/1"}).path


def changed(good: Path, change: Change) -> bytes:
    model = unpack((good / MODEL).read_bytes())
    change(model, model.subgraphs[0])
    return pack(model)


def refused(edgekit: Edgekit, path: Path, picture: Path) -> str:
    """The hashes are right, and still `detect` refuses; returns what it says."""
    assert edgekit("verify", path).code == 0
    ran = edgekit("detect", path, picture)
    assert ran.code == 6, ran.err
    assert "Traceback" not in ran.err
    return ran.err


@pytest.mark.parametrize("keep", [0, 3, 8, 100, 0.5, 0.99])
def test_truncated(
    edgekit: Edgekit, tflite_packages: dict[str, Path], tmp_path: Path, picture: Path, keep: float
) -> None:
    good = tflite_packages["fp32"]
    data = (good / MODEL).read_bytes()
    data = data[: int(len(data) * keep) if isinstance(keep, float) else keep]
    refused(edgekit, package(good, tmp_path, data), picture)


@pytest.mark.parametrize(
    "data", [b"not a model", b"\x10\0\0\0TFL3", b"\xff\xff\xff\xffTFL3" + bytes(64), b"\0\0\0\0TFL3\0" * 9]
)
def test_something_else(
    edgekit: Edgekit, tflite_packages: dict[str, Path], tmp_path: Path, picture: Path, data: bytes
) -> None:
    assert "cannot open" in refused(edgekit, package(tflite_packages["fp32"], tmp_path, data), picture)


def constant(model: Any, graph: Any) -> Any:
    """A tensor that holds weights."""
    return next(t for t in graph.tensors if t.type == 0 and model.buffers[t.buffer].data is not None)


def custom(model: Any, name: str) -> None:
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode = name


LIES: dict[str, tuple[Change, str]] = {
    "another input": (lambda m, g: setattr(g.tensors[g.inputs[0]], "name", b"picture"), "manifest describes"),
    "a name of no characters": (lambda m, g: setattr(g.tensors[g.outputs[0]], "name", b"\xff"), "utf-8"),
    "one output fewer": (lambda m, g: setattr(g, "outputs", g.outputs[:1]), "manifest describes"),
    "no tensors for outputs": (lambda m, g: setattr(g, "outputs", np.int32([-1, -1])), "not among"),
    "an input that is not there": (lambda m, g: setattr(g, "inputs", np.int32([2**30])), "not among"),
    "images of another size": (lambda m, g: setattr(g.tensors[g.inputs[0]], "shape", np.int32([1, 32, 32, 3])), ""),
    "a tensor of exabytes": (
        lambda m, g: setattr(g.tensors[5], "shape", np.int32([1, 2**30, 2**30])),
        "cannot have the shape",
    ),
    "a negative size": (lambda m, g: setattr(g.tensors[5], "shape", np.int32([1, -7, 3])), "cannot have the shape"),
    "forty dimensions": (lambda m, g: setattr(g.tensors[5], "shape", np.int32([*[1] * 40])), "too many dimensions"),
    "a Flex operator": (lambda m, g: custom(m, "FlexConv2D"), ""),
    "a custom operator": (lambda m, g: custom(m, "../../evil.so"), ""),
    "an unknown operator": (lambda m, g: setattr(m.operatorCodes[0], "builtinCode", 9999), ""),
    "operators of no kind": (lambda m, g: setattr(g.operators[0], "opcodeIndex", 99), "of no kind"),
    "a tensor too many": (lambda m, g: setattr(g.operators[3], "inputs", np.int32([0, 10**6])), "not there"),
    "weights left out": (lambda m, g: setattr(constant(m, g), "buffer", 0), "nothing wrote"),
    "weights of another buffer": (lambda m, g: setattr(constant(m, g), "buffer", 10**6), "no buffer"),
    "weights behind the file": (
        lambda m, g: vars(m.buffers[4]).update(data=None, offset=2**40, size=64),
        "before its weights do",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_lies(edgekit: Edgekit, tflite_packages: dict[str, Path], tmp_path: Path, picture: Path, lie: str) -> None:
    good, (change, says) = tflite_packages["fp32"], LIES[lie]
    assert says in refused(edgekit, package(good, tmp_path, changed(good, change)), picture)


def quantised(model: Any, graph: Any, kind: str) -> Any:
    """The first operator of a kind that gives int8."""
    code = getattr(schema.BuiltinOperator, kind)
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    return next(
        o
        for o in graph.operators
        if codes[o.opcodeIndex] == code and graph.tensors[o.outputs[0]].type == schema.TensorType.INT8
    )


def scaled(kind: str, *values: float) -> Change:
    """Another scale for the result of one operator."""
    return lambda m, g: setattr(g.tensors[quantised(m, g, kind).outputs[0]].quantization, "scale", np.float32(values))


def rewired(side: str, tensors: Callable[[Any], Any]) -> Change:
    return lambda m, g: setattr(quantised(m, g, "LOGISTIC"), side, np.int32(tensors(g)))


# Each of these ends the process of an interpreter that reads it unchecked.
CRASHES: dict[str, Change] = {
    "a scale that is no number": scaled("QUANTIZE", np.nan),
    "a negative scale": scaled("ADD", -1.0),
    "a zero point without scale": scaled("ADD"),
    "an absent operand": rewired("inputs", lambda g: [-1]),
    "integers from floats": rewired("inputs", lambda g: g.inputs[:1]),
    "a result written twice": rewired("outputs", lambda g: g.operators[2].outputs),
    "no parts": lambda m, g: setattr(quantised(m, g, "SPLIT").builtinOptions, "numSplits", 0),
    "many parts": lambda m, g: setattr(quantised(m, g, "SPLIT").builtinOptions, "numSplits", 65536),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_crashes(tflite_packages: dict[str, Path], tmp_path: Path, picture: Path, crash: str) -> None:
    good = tflite_packages["w8a8"]
    bad = package(good, tmp_path, changed(good, CRASHES[crash]))
    command = [sys.executable, "-P", "-c", "from edgekit.cli.main import main; main()", "detect"]
    ran = subprocess.run(
        [*command, str(bad), str(picture)], capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    assert ran.returncode == 6, ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("change", [{"scale": 1.0}, {"zero_point": 7}, {"scale": None, "dtype": "uint8"}])
def test_numbers_that_mean_something_else(
    tflite_packages: dict[str, Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    """With the manifest's own scale, each box would be elsewhere."""
    good = tflite_packages["integer"]
    model = Package(good).manifest.model
    outputs = tuple(replace(o, **change) for o in model.outputs)
    bad = package(good, tmp_path, (good / MODEL).read_bytes(), replace(model, outputs=outputs))
    with pytest.raises(IntegrityError, match="manifest describes"):
        load(bad)


def test_the_zip_inside_is_never_opened(
    edgekit: Edgekit, tflite_packages: dict[str, Path], tmp_path: Path, picture: Path
) -> None:
    """Labels are those of the manifest, whatever an archive behind the model holds."""
    good = tflite_packages["fp32"]
    whole = io.BytesIO((good / MODEL).read_bytes())
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil", b"x")
        archive.writestr("LABELS.TXT", b"liar\n" * 10**6)
    path = package(good, tmp_path, whole.getvalue())
    ran = edgekit("detect", path, picture, "--score", 0, "--json")
    assert ran.code == 0, ran.err
    known = set(Package(good).manifest.model.labels)
    assert {d["label"] for d in ran.json["images"][0]["detections"]} <= known
    assert not list(tmp_path.rglob("evil"))
