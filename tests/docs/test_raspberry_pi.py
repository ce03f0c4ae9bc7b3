"""docs/raspberry-pi.md: its camera program runs with a stub of picamera2, its service is one, its wheel is ours."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edgekit.runtime import Detector, load
from edgekit.runtime.image import read_image
from tests.data import ROOT, SHAPES
from tests.docs.pages import blocks, read

PAGE = ROOT / "docs" / "raspberry-pi.md"
PHOTO = SHAPES / "eval" / "images" / "9002-0003.jpg"

# A stub of picamera2's class: frames are the sample's photograph, and after the third systemd stops the service.
CAMERA = f"""
import os, signal

from edgekit.runtime.image import read_image


class Picamera2:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        print("closed", flush=True)

    def create_video_configuration(self, main):
        assert main["format"] == "BGR888"
        return main

    def configure(self, configuration):
        self.frames = 0

    def start(self):
        pass

    def capture_array(self, name):
        assert name == "main"
        self.frames += 1
        if self.frames == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return read_image({str(PHOTO)!r})
"""


def program() -> str:
    (text,) = blocks(PAGE, "python")
    return text


def test_the_program_is_python() -> None:
    compile(program(), "watch.py", "exec")


@pytest.mark.slow
def test_the_camera_is_watched_until_the_service_is_stopped(packages: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "picamera2.py").write_text(CAMERA, encoding="utf-8")
    (tmp_path / "watch.py").write_text(program(), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(tmp_path / "watch.py"), str(packages["fp32"]), "0.01"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
    )
    assert ran.returncode == 0, ran.stderr
    *lines, closed = ran.stdout.splitlines()
    assert len(lines) == 3 and closed == "closed"
    with load(packages["fp32"], kind=Detector) as detector:
        wanted = detector(read_image(PHOTO), score_threshold=0.4)
    for line in lines:
        found = json.loads(line)["found"]
        assert [d["label"] for d in found] == [d.label for d in wanted] and len(found) > 1
        assert all(len(d["box"]) == 4 for d in found)


def unit() -> str:
    (text,) = blocks(PAGE, "ini")
    return text


def test_the_service_starts_what_the_page_installs() -> None:
    service = configparser.ConfigParser(interpolation=None)
    service.optionxform = str  # type: ignore[assignment, method-assign]
    service.read_string(unit())
    python, script, package = service["Service"]["ExecStart"].split()
    page = read(PAGE)
    assert f"`{script}`" in page and f"~/{Path(package).name}" in page
    assert python == "/home/pi/edgekit/bin/python" and "venv --system-site-packages ~/edgekit" in page


def test_systemd_takes_the_service(tmp_path: Path) -> None:
    if not (tool := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not here")
    here = unit().replace("/home/pi/edgekit/bin/python", sys.executable).replace("User=pi", "User=root")
    (tmp_path / "watch.service").write_text(here, encoding="utf-8")
    ran = subprocess.run(
        [tool, "verify", "--man=no", str(tmp_path / "watch.service")], capture_output=True, text=True, encoding="utf-8"
    )
    ours = [line for line in ran.stderr.splitlines() if "watch.service" in line]
    assert ours == []


def test_the_wheel_has_our_name() -> None:
    project = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]
    file = f"{project['name'].replace('-', '_')}-"
    wheels = re.findall(r"[\w~/]*?(\w+-)(?:\*|[\d.]+-py3-none-any)\.whl", read(PAGE))
    assert len(wheels) >= 3 and set(wheels) == {file}
    assert f"{project['name']}[litert,images] @ file:///" in read(PAGE)
    assert project["requires-python"] == ">=3.11"
