"""Packages by way of AI Hub: the real client against the emulator, which compiles and runs for real."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.package import Package
from edgekit.runtime import load
from tests.cli.commands import IMAGE, SOURCE, Edgekit, manifest, measured, receipt
from tests.data import SHAPES
from tests.emulator import Emulator

SMALL = (
    SOURCE,
    "--image-size",
    96,
    "-t",
    "snapdragon-8-elite",
    "--via",
    "aihub",
    "--eval",
    SHAPES / "eval",
    "--simulated-images",
    2,
)
DEVICE = "aihub:Samsung Galaxy S25"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("aihub") / "hub") as emulator:
        yield emulator


@pytest.fixture(scope="module", autouse=True)
def configured(hub: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setenv("QAIHUB_CLIENT_INI", str(hub.ini))
    patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
    patch.setenv("EDGEKIT_AIHUB_PATIENCE", "60")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def package(hub: Emulator, configured: None, edgekit: Edgekit, tmp_path_factory: Any) -> Path:
    """fp16, compiled at the emulator with what is asked for by default."""
    out = tmp_path_factory.mktemp("out")
    ran = edgekit("convert", *SMALL, "-p", "fp16", "-o", out, "--json")
    assert ran.code == 0, ran.err + ran.out
    (made,) = ran.json["packages"]
    return Path(made["path"])


def test_a_package_says_who_compiled_it_and_what_that_is_worth(package: Path) -> None:
    toolchain = manifest(package)["toolchain"]
    assert toolchain["backend"] == "aihub"
    assert toolchain["settings"]["runtime"] == "precompiled_qnn_onnx"
    assert toolchain["settings"]["qairt_version"] == "2.51"  # pinned, and what ran:
    assert toolchain["versions"]["QAIRT"].startswith("2.51") and toolchain["versions"]["qai-hub"]
    assert toolchain["versions"]["AI Hub"] == "emulated:edgekit"
    engine = manifest(package)["engine"]  # the provider that has the QAIRT which compiled it, and later ones
    assert engine["versions"] == ">=2.7,<3" and set(engine["libraries"]) == {"onnxruntime"}
    found = receipt(package)
    assert any("compiled by an emulator" in n for n in found["notes"])
    assert [r["job"] for r in found["search"] if r["kind"] == "job"] == ["compile"]
    assert all(r["emulated"] and r["id"] for r in found["search"] if r["kind"] == "job")


def test_its_outputs_were_compared_on_the_device_and_are_not_called_measured(package: Path) -> None:
    rows = measured(receipt(package), "accuracy")
    assert abs(rows["mAP50-95 drop"]["value"]) < 0.02
    assert rows["mAP50-95"]["provenance"] == "simulated"
    assert rows["mAP50-95"]["device"] == "aihub:Samsung Galaxy S25 (emulated)"
    assert rows["float mAP50-95"]["provenance"] == "measured"
    assert not measured(receipt(package), "latency")
    assert any(n.startswith("speed") for n in receipt(package)["not_checked"])


def test_the_runtime_opens_it_like_one_that_was_compiled_here(package: Path) -> None:
    with load(package, simulate=True) as detector:
        detector(str(IMAGE))
        assert detector.outputs["scores"].shape == (1, 8, 189)


def test_the_same_again_sends_nothing(hub: Emulator, edgekit: Edgekit, package: Path, tmp_path: Path) -> None:
    before = len(hub.seen("model-create")), len(hub.seen("job-create")), len(hub.seen("dataset-create"))
    ran = edgekit("convert", *SMALL, "-p", "fp16", "-o", tmp_path)
    assert ran.code == 0, ran.err
    after = len(hub.seen("model-create")), len(hub.seen("job-create")), len(hub.seen("dataset-create"))
    assert after == before
    assert manifest(tmp_path / package.name) == manifest(package)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "options", "engine", "jobs"),
    [
        ("qnn_context_binary", (), "qnn", ["compile"]),
        ("qnn_context_binary", ("--link",), "qnn", ["compile", "link"]),
        ("qnn_dlc", (), "qnn-dlc", ["compile"]),
        ("tflite", (), "litert", ["compile"]),
        ("onnx", (), "onnxruntime", ["compile"]),
    ],
)
def test_each_runtime_becomes_a_package_of_the_engine_that_opens_it(
    runtime: str, options: tuple[str, ...], engine: str, jobs: list[str], edgekit: Edgekit, tmp_path: Path
) -> None:
    ran = edgekit("convert", *SMALL, "-p", "fp16", "--runtime", runtime, *options, "-o", tmp_path, "--json")
    assert ran.code == 0, ran.err + ran.out
    made = Path(ran.json["packages"][0]["path"])
    assert Package(made).verify() and manifest(made)["engine"]["name"] == engine
    assert [r["job"] for r in receipt(made)["search"] if r["kind"] == "job"] == jobs
    if engine in ("litert", "onnxruntime"):
        with load(made) as detector:
            assert detector(str(IMAGE), score_threshold=0.01)


@pytest.mark.slow
def test_it_needs_no_compiler_here(hub: Emulator, tmp_path: Path) -> None:
    """As on a Mac, which onnxruntime-qnn is not there for."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['onnxruntime_qnn'] = None\n", encoding="utf-8")
    command = [sys.executable, "-P", "-m", "edgekit.cli.main", "convert", *SMALL, "-p", "fp16", "-o", tmp_path / "out"]
    ran = subprocess.run(
        [str(c) for c in command],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stderr
    (made,) = (tmp_path / "out").iterdir()
    assert manifest(made)["toolchain"]["settings"]["qairt_version"]  # the service's default
    refused = subprocess.run(
        [str(c) for c in command if c not in ("--via", "aihub")],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert refused.returncode == 3 and "onnxruntime-qnn" in refused.stderr


@pytest.mark.slow
def test_ai_hub_quantises_when_asked(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(
        "convert",
        *SMALL,
        "-p",
        "w8a8",
        "--quantize",
        "aihub",
        "--calibration",
        SHAPES / "calibration",
        "--calibration-images",
        4,
        "--allow",
        "accuracy",
        "-o",
        tmp_path,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    made = Path(ran.json["packages"][0]["path"])
    assert manifest(made)["toolchain"]["settings"]["quantised_by"] == "AI Hub"
    assert [r["job"] for r in receipt(made)["search"] if r["kind"] == "job"] == ["quantize", "compile"]


@pytest.mark.slow
def test_what_edgekit_quantised_keeps_its_integers(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(
        "convert",
        *SMALL,
        "-p",
        "w8a16",
        "--calibration",
        SHAPES / "calibration",
        "--calibration-images",
        2,
        "--allow",
        "accuracy",
        "-o",
        tmp_path,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    made = Path(ran.json["packages"][0]["path"])
    assert manifest(made)["model"]["input"]["dtype"] == "uint16"
    found = receipt(made)
    assert any("published: slower than float" in n for n in found["notes"])  # it has YOLOv9's pools
    assert [m for m in found["measurements"] if m["provenance"] == "published"]


def test_a_profile_keeps_layers_and_no_times_of_an_emulator(package: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    store = tmp_path / "store.sqlite"
    ran = edgekit(
        "profile",
        package,
        "-d",
        DEVICE,
        "--launches",
        2,
        "--iterations",
        2,
        "--store",
        store,
        "--json",
        "--source",
        SOURCE,
        "--images",
        SHAPES / "eval",
        "--image-count",
        2,
    )
    assert ran.code == 0, ran.err + ran.out
    (result,) = ran.json["results"]
    assert result["device"]["provenance"] == "simulated"
    assert {layer["compute_unit"] for layer in result["layers"]} == {"NPU"}
    assert {r["name"] for r in result["outputs"]} >= {"detection error", "scores SNR", "mAP50-95 drop"}
    rows = sqlite3.connect(store).execute("SELECT data FROM launches").fetchall()
    launches = [json.loads(r[0]) for r in rows]
    assert len(launches) == 2 and all(x["host"]["emulated"] for x in launches)
    assert len({x["host"]["job"] for x in launches}) == 2  # two measurements, not one twice
    assert all(x["host"]["layers"] and x["host"]["memory"] for x in launches)
    found = receipt(package)
    assert not measured(found, "latency") and not measured(found, "memory")
    assert measured(found, "placement")["layers on the NPU"]["provenance"] == "simulated"
    shown = edgekit("profile", package, "-d", DEVICE, "--launches", 1, "--iterations", 1, "--no-record")
    assert "Emulated" in shown.out and " ms" not in shown.out


def test_outputs_are_compared_with_the_model_it_was_made_of_only(
    package: Path, edgekit: Edgekit, tmp_path: Path
) -> None:
    from tests.emulator import small_network

    other = small_network(tmp_path / "other.onnx")
    ran = edgekit("profile", package, "-d", DEVICE, "--source", other)
    assert ran.code in (2, 5) and not ran.out
    ran = edgekit("profile", package, "--source", SOURCE)  # local, where no such processor is
    assert ran.code == 4 and "NPU" in ran.err


def test_the_devices_there_can_be_listed(edgekit: Edgekit) -> None:
    found = edgekit("devices", "aihub", "--json").json["devices"]
    assert "aihub:Samsung Galaxy S25 (emulated)" in found
    assert all(d["provenance"] == "simulated" for d in found.values())
