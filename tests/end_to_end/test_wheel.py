"""The wheel as people install it: what is in it, and what each extra adds, in fresh environments."""

from __future__ import annotations

import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.data import ROOT, SHAPES
from tests.environment import Environment, fresh

pytestmark = pytest.mark.slow
IMAGE = SHAPES / "eval" / "images" / "9002-0000.jpg"


@pytest.fixture(scope="module")
def device(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel alone; tests below add extras in the order they stand."""
    made = fresh(tmp_path_factory.mktemp("device"), pip=False)
    made.install(str(wheel))
    return made


def detections(ran: subprocess.CompletedProcess[str]) -> list[Any]:
    assert ran.returncode == 0, ran.stderr
    found: list[Any] = json.loads(ran.stdout)
    return found


def test_the_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "edgekit/_targets/cpu.toml" in names
    assert "edgekit/py.typed" in names
    assert any(n.startswith("edgekit/_profiles/") for n in names)
    assert any(n.startswith("edgekit/store/migrations/") and n.endswith(".sql") for n in names)
    assert any(n.startswith("edgekit/report/") and n.endswith(".j2") for n in names)
    assert any(n.endswith("licenses/LICENSE") for n in names)
    tops = {n.split("/")[0] for n in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {"edgekit"}
    assert not [n for n in names if "__pycache__" in n or "test" in Path(n).name]
    assert not [n for n in names if "emulator" in n]  # a distribution of its own, for tests
    assert wheel.stat().st_size < 1_000_000


def test_the_wheel_alone_is_numpy_and_click(device: Environment) -> None:
    assert device.installed() == {"edgekit-ml", "numpy", "click"}


def test_what_needs_nothing_more_works(device: Environment, packages: dict[str, Path]) -> None:
    listed = device.run("edgekit", "--help").stdout
    assert "convert" in listed and "hub-emulator" not in listed
    targets = device.run("edgekit", "targets", "--json")
    assert {"cpu", "tflite"} <= {t["name"] for t in json.loads(targets.stdout)["targets"]}
    for line in (
        ["doctor"],
        ["backends"],
        ["devices"],
        ["verify", packages["fp32"]],
        ["inspect", packages["w8a8"]],
        ["pack", packages["fp32"], "-o", "one.edgepkg"],
        ["unpack", "one.edgepkg"],
        ["profile", packages["fp32"], "-d", "null", "--no-record"],
    ):
        ran = device.run("edgekit", *line)
        assert ran.returncode == 0, ran.stderr
    missing = json.loads(device.run("edgekit", "doctor", "--json").stdout)["missing"]
    assert missing["runtime"] == ["onnxruntime"]
    assert missing["images"] == ["pillow"]
    assert missing["report"] == ["jinja2"]
    assert "torch" in missing["convert"]
    assert "pip install 'edgekit-ml[convert]'" in device.run("edgekit", "doctor").stdout


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        ("detect", "edgekit-ml[runtime]"),
        ("profile", "edgekit-ml[runtime]"),
        ("convert", "edgekit-ml[convert]"),
        ("report", "edgekit-ml[report]"),
    ],
)
def test_what_is_missing_is_said_with_the_command_that_installs_it(
    device: Environment, packages: dict[str, Path], verb: str, command: str
) -> None:
    subject = {
        "convert": [SHAPES / "shapes.safetensors"],
        "detect": [packages["fp32"], IMAGE],
        "profile": [packages["fp32"], "--no-record", "--launches", 1],
    }
    ran = device.run("edgekit", verb, *subject.get(verb, [packages["fp32"]]))
    assert ran.returncode == 3, ran.stderr
    assert f"pip install '{command}'" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (device.work / "dist").exists()


LOAD = "import json, numpy; from edgekit.runtime import load; d = load({package!r})\n"


def test_with_runtime_arrays_work_and_files_ask_for_pillow(
    device: Environment, packages: dict[str, Path], wheel: Path
) -> None:
    device.install(f"{wheel}[runtime]")
    assert "onnxruntime" in device.installed()
    assert device.installed().isdisjoint({"pillow", "opencv-python-headless", "torch", "onnx"})
    import numpy as np

    from edgekit.runtime import load
    from edgekit.runtime.image import read_image

    image = read_image(IMAGE)
    np.save(device.work / "image.npy", image)
    code = LOAD + "print(json.dumps(d(numpy.load('image.npy'))))"
    for package in packages.values():
        found = detections(device.python(code.format(package=str(package))))
        expected = load(package)(image)
        assert [label for label, *_ in found] == [d.label for d in expected]
        for (_, score, box, _), d in zip(found, expected):
            assert score == pytest.approx(d.score, abs=0.01)
            assert box == pytest.approx(d.box, abs=1)
    ran = device.run("edgekit", "detect", packages["fp32"], IMAGE)
    assert ran.returncode == 3
    assert "pip install pillow" in ran.stderr
    assert "Traceback" not in ran.stderr
    ran = device.run("edgekit", "profile", packages["fp32"], "--no-record", "--launches", 1, "--iterations", 3)
    assert ran.returncode == 0, ran.stderr


def test_with_images_files_work(device: Environment, packages: dict[str, Path], wheel: Path) -> None:
    device.install(f"{wheel}[runtime,images]")
    ran = device.run("edgekit", "detect", packages["w8a8"], IMAGE, "--save", "drawn")
    assert ran.returncode == 0, ran.stderr
    assert "label" in ran.stdout
    assert (device.work / "drawn" / f"{IMAGE.stem}-boxes.jpg").is_file()


def test_reports_need_only_their_own_extra(wheel: Path, packages: dict[str, Path], tmp_path: Path) -> None:
    desk = fresh(tmp_path, pip=False)
    desk.install(f"{wheel}[report]")
    assert desk.installed() == {"edgekit-ml", "numpy", "click", "jinja2", "markupsafe"}
    ran = desk.run("edgekit", "report", *packages.values(), "-o", "report.html")
    assert ran.returncode == 0, ran.stderr
    page = (desk.work / "report.html").read_text(encoding="utf-8")
    assert "shapes-cpu-fp32" in page and "shapes-cpu-w8a8" in page


def test_the_convert_extra_alone_converts(wheel: Path, tmp_path: Path) -> None:
    made = fresh(tmp_path, pip=False)
    made.install_with_pip("-c", str(ROOT / "constraints.txt"), f"{wheel}[convert]")
    ran = made.run(
        "edgekit",
        "convert",
        SHAPES / "shapes.safetensors",
        "-p",
        "fp32",
        "--json",
        "--eval",
        SHAPES / "eval",
        "--eval-images",
        8,
        "-o",
        "out",
    )
    assert ran.returncode == 0, ran.stderr
    assert made.run("edgekit", "verify", "out/shapes-cpu-fp32").returncode == 0
