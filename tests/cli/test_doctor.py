"""edgekit doctor --package: rows, exit codes, and the simulator as proof."""

from __future__ import annotations

import platform
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import SOURCE, Edgekit
from tests.data import SHAPES

SIMULATES = platform.system() == "Linux" and platform.machine() == "x86_64"


def checks(edgekit: Edgekit, package: Path, *options: str, code: int = 0) -> dict[str, Any]:
    ran = edgekit("doctor", "--package", package, *options, "--json")
    assert ran.code == code, ran.out + ran.err
    assert ran.json["schema"] == "edgekit.diagnosis/1" and ran.json["ready"] == (code == 0)
    return {c["name"]: c for c in ran.json["checks"]}


@pytest.fixture(scope="module")
def snapdragon(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample detector for one chip, small. Do not change it."""
    pytest.importorskip("onnxruntime_qnn")
    if not SIMULATES:
        pytest.skip("compiles and simulates on x86 Linux")
    out = tmp_path_factory.mktemp("snapdragon")
    ran = edgekit(
        "convert",
        SOURCE,
        "-t",
        "snapdragon-8-elite",
        "-p",
        "fp16",
        "--image-size",
        96,
        "--launches",
        0,
        "--calibration",
        SHAPES / "calibration",
        "--simulated-images",
        1,
        "-o",
        out,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    return Path(ran.json["packages"][0]["path"])


def test_a_package_for_this_machine(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    found = checks(edgekit, packages["fp32"])
    assert {name: c["state"] for name, c in found.items()} == dict.fromkeys(("package", "engine", "one image"), "ok")
    shown = edgekit("doctor", "--package", packages["fp32"])
    assert shown.code == 0 and shown.out.startswith("check")
    assert all(len(line) <= 80 for line in shown.out.splitlines())


def test_a_changed_package(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    changed = shutil.copytree(packages["fp32"], tmp_path / "changed")
    (changed / "labels.txt").write_text("other\n", encoding="utf-8")
    found = checks(edgekit, changed, code=3)
    assert found["package"]["state"] == "problem" and "labels.txt" in found["package"]["found"]
    assert "one image" not in found


def test_wrong_use(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    assert edgekit("doctor", "--device", "local").code == 2
    ran = edgekit("doctor", "--package", packages["fp32"], "--device", "abacus:1234")
    assert ran.code == 2 and "kinds of device" in ran.err
    assert edgekit("doctor", "--package", tmp_path / "nothing").code == 2
    found = checks(edgekit, packages["fp32"], "-d", "sim:htp", code=3)
    assert found["simulator"]["state"] == "problem"


@pytest.mark.slow
def test_the_simulator_is_the_proof(edgekit: Edgekit, snapdragon: Path, tmp_path: Path) -> None:
    found = checks(edgekit, snapdragon, "-d", "sim:htp")
    assert "ran in the simulator" in found["one image"]["found"]
    assert found["QAIRT"]["state"] == "ok" and found["Android app"]["state"] == "cannot tell"
    here = checks(edgekit, snapdragon, code=3)
    assert "only the simulator runs it" in here["chip"]["found"] and "one image" not in here
    changed = shutil.copytree(snapdragon, tmp_path / "changed")
    (changed / "model-SM8750.onnx").write_bytes(b"")
    broken = checks(edgekit, changed, "-d", "sim:htp", code=3)
    assert broken["package"]["state"] == "problem" and "one image" not in broken
