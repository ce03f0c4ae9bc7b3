"""samples/plugin: a wheel of somebody else adds a backend with its engine, a device and a task, and edgekit stays as
it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from edgekit.errors import IntegrityError, MissingError
from edgekit.runtime import Detector, load
from tests.data import ROOT, SHAPES

PLUGIN = ROOT / "samples" / "plugin"
IMAGE = SHAPES / "eval" / "images" / "9002-0000.jpg"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plug-in, installed to a folder of its own."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(PLUGIN, folder / "source")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--target",
            folder / "site",
            source,
        ],
        check=True,
    )
    return folder / "site"


def command(installed: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`edgekit …` with the plug-in on the path."""
    return subprocess.run(
        [sys.executable, "-m", "edgekit.cli.main", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def edgekit(installed: Path, *arguments: object) -> Any:
    """What `edgekit … --json` says with the plug-in on the path."""
    ran = command(installed, *arguments, "--json")
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return json.loads(ran.stdout)


def test_the_backend_is_listed(installed: Path) -> None:
    found = {b["name"]: b for b in edgekit(installed, "backends")["backends"]}
    assert found["onnxruntime-basic"]["ready"]


def python(installed: Path, code: str) -> str:
    """What a script prints with the plug-in on the path."""
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_backend_and_its_engine(installed: Path, packages: dict[str, Path], tmp_path: Path) -> None:
    words = (SHAPES / "shapes.safetensors", "-t", PLUGIN / "cpu-basic.toml", "-o", tmp_path)
    (made,) = edgekit(installed, "convert", *words, "--eval", SHAPES / "eval", "--eval-images", 8)["packages"]
    assert made["name"] == "shapes-cpu-basic-fp32"
    assert made["receipt"]["verdict"] == "good"
    assert "optimised at level basic" in made["receipt"]["notes"]
    package = Path(made["path"])
    assert json.loads((package / "manifest.json").read_text(encoding="utf-8"))["engine"]["name"] == "onnxruntime-basic"
    assert (package / "model.onnx").read_bytes() != (packages["fp32"] / "model.onnx").read_bytes()
    code = f"""
from edgekit.runtime import load
for d in load({str(package)!r})({str(IMAGE)!r}): print(d.label, *(round(v) for v in d.box))
"""
    ours = "".join(
        f"{d.label} {' '.join(str(round(v)) for v in d.box)}\n" for d in load(packages["fp32"], kind=Detector)(IMAGE)
    )
    assert python(installed, code) == ours
    with pytest.raises(MissingError, match="needs the engine onnxruntime-basic"):
        load(package)


def test_a_device_over_a_transport(installed: Path, packages: dict[str, Path]) -> None:
    words = ("--launches", 2, "--iterations", 3, "--no-record")
    (result,) = edgekit(installed, "profile", packages["fp32"], "-d", "shell:env", *words)["results"]
    assert result["device"]["name"] == "shell" and result["run"]["median"] > 0


def test_a_task(installed: Path, tmp_path: Path) -> None:
    """Image classification, whole: source, package with top-1 accuracy, load, profile, report."""
    source = classifier(tmp_path)
    data = ("--eval", tmp_path / "eval", "--calibration", tmp_path / "calibration", "--launches", 2)
    words = ("--task", "image-classification", "-p", "fp32", "-p", "w8a8", *data, "--allow", "slower")
    made = edgekit(installed, "convert", source, *words, "-o", tmp_path / "dist")["packages"]
    paths = {p["precision"]: Path(p["path"]) for p in made}
    for one in made:
        rows = {m["name"]: m["value"] for m in one["receipt"]["measurements"]}
        assert rows["top-1"] == rows["float top-1"] == 1.0 and rows["top-1 drop"] == 0.0
    listed = python(
        installed,
        f"from edgekit.runtime import load; print(load({str(paths['w8a8'])!r})({str(tmp_path / 'eval/green/0.png')!r}))",
    )
    assert listed.startswith("[('green', 0.")
    (result,) = edgekit(installed, "profile", paths["fp32"], "--launches", 2, "--iterations", 3)["results"]
    assert result["total"]["median"] >= result["run"]["median"] > 0  # the image is prepared as well
    assert edgekit(installed, "inspect", paths["w8a8"])["manifest"]["model"]["labels"] == ["red", "green", "blue"]
    edgekit(installed, "report", *paths.values(), "-o", tmp_path / "r.html")
    report = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Top-1" in report and "Accuracy against latency" in report and "mAP50-95" not in report


def test_options_are_the_tasks_own(installed: Path, tmp_path: Path) -> None:
    source, task = classifier(tmp_path), ("--task", "image-classification")
    for words, why in (
        (("--simulated-images", 3), "--simulated-images is for detectors"),
        (("--context", 64), "--context is for language models"),
        (("--float-layers", 1), "--float-layers is for"),
        (("--eval-images", 1), "says nothing without --eval"),
    ):
        ran = command(installed, "convert", source, *task, *words, "-o", tmp_path)
        assert ran.returncode == 2 and why in ran.stderr, ran.stderr


def test_without_it_its_packages_are_refused_with_a_reason(installed: Path, tmp_path: Path) -> None:
    words = ("--task", "image-classification", "--launches", 0, "-o", tmp_path / "dist")
    (made,) = edgekit(installed, "convert", classifier(tmp_path), *words)["packages"]
    with pytest.raises(IntegrityError, match="install the extension"):
        load(made["path"])


def classifier(folder: Path) -> Path:
    """An ONNX classifier of colours that needs no training, and images in folders by class."""
    weights = np.full((3, 3, 1, 1), -4, np.float32)
    weights[range(3), range(3)] = 8
    nodes = [
        helper.make_node("Conv", ["images", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "second"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(weights, "first"),
            numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "second"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.metadata_props.add(key="names", value="{0: 'red', 1: 'green', 2: 'blue'}")
    onnx.save(model, str(folder / "colours.onnx"))
    random = np.random.default_rng(0)
    for split in ("eval", "calibration"):
        for channel, name in enumerate(("red", "green", "blue")):
            (folder / split / name).mkdir(parents=True)
            for index in range(4):
                pixels = random.integers(0, 160, (40, 48, 3), dtype=np.uint8)
                pixels[..., channel] += 60
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return folder / "colours.onnx"


def test_the_contract_of_backends_holds_for_it_too(installed: Path) -> None:
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "tests/contract/test_backends.py",
            "-k",
            "onnxruntime-basic",
        ],
        env={**os.environ, "PYTHONPATH": str(installed)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stdout
    assert "4 passed" in ran.stdout


def test_each_part_is_small() -> None:
    def lines(*files: Path) -> int:
        return sum(len(p.read_text(encoding="utf-8").splitlines()) for p in files)

    assert lines(PLUGIN / "edgekit_onnxruntime_basic.py", PLUGIN / "cpu-basic.toml") <= 70
    assert lines(PLUGIN / "edgekit_shell_device.py") <= 90
    assert lines(*(PLUGIN / "edgekit_classification").glob("*.py")) <= 420
