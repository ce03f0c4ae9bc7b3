"""samples/plugin: a wheel of somebody else adds a backend, and edgekit stays as it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def edgekit(installed: Path, *arguments: object) -> Any:
    """What `edgekit … --json` says with the plug-in on the path."""
    ran = subprocess.run(
        [sys.executable, "-m", "edgekit.cli.main", *map(str, arguments), "--json"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stderr + ran.stdout
    return json.loads(ran.stdout)


def test_the_backend_is_listed(installed: Path) -> None:
    found = {b["name"]: b for b in edgekit(installed, "backends")["backends"]}
    assert found["onnxruntime-basic"]["ready"]


def test_it_converts_and_the_package_runs_without_it(
    installed: Path, packages: dict[str, Path], tmp_path: Path
) -> None:
    from edgekit.runtime import load

    (made,) = edgekit(
        installed,
        "convert",
        SHAPES / "shapes.safetensors",
        "-t",
        PLUGIN / "cpu-basic.toml",
        "--eval",
        SHAPES / "eval",
        "--eval-images",
        8,
        "-o",
        tmp_path,
    )["packages"]
    assert made["name"] == "shapes-cpu-basic-fp32"
    assert made["receipt"]["verdict"] == "good"
    assert "optimised at level basic" in made["receipt"]["notes"]
    package = Path(made["path"])
    assert (package / "model.onnx").read_bytes() != (packages["fp32"] / "model.onnx").read_bytes()
    ours, theirs = load(packages["fp32"])(IMAGE), load(package)(IMAGE)
    assert [d.label for d in ours] == [d.label for d in theirs]
    assert [d.box for d in ours] == [pytest.approx(d.box, abs=0.01) for d in theirs]


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


def test_it_is_small() -> None:
    files = [p for p in PLUGIN.iterdir() if p.suffix in (".py", ".toml")]
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in files) <= 60
