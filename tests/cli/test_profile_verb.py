"""profile and compare: exact on a device with fixed timings, and whole on this machine."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Edgekit, measured, receipt
from tests.data import SHAPES

LOCAL = ("-d", "local", "--launches", 2, "--iterations", 5)


@pytest.fixture
def copy(packages: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages["fp32"], tmp_path / "copy"))


def launches(store: Path) -> list[dict[str, Any]]:
    """The raw samples, read as anybody could."""
    with sqlite3.connect(store) as connection:
        rows = connection.execute("SELECT data FROM launches ORDER BY id").fetchall()
    return [json.loads(data) for (data,) in rows]


def test_fixed_timings_come_out_exactly(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("profile", packages["fp32"], "-d", "null:12", "--no-record", "--json")
    (result,) = ran.json["results"]
    for summary in (result["run"], result["total"]):
        assert summary["median"] == summary["p90"] == summary["p99"] == 0.012
        assert summary["interval"] == [0.012, 0.012]
    assert result["run"]["samples"] == 5 * 50
    assert result["cold_load_s"] == result["warm_load_s"] == result["first_run_s"] == 0.012
    shown = edgekit("profile", packages["fp32"], "-d", "null:12", "--no-record").out
    assert "shapes-cpu-fp32  12.00   12.00 to 12.00  12.00  12.00  12.00  12/12" in shown
    assert "raw samples: " in shown


def test_records_go_into_the_receipt_and_it_still_verifies(edgekit: Edgekit, copy: Path) -> None:
    before = receipt(copy)
    assert edgekit("profile", copy, "-d", "null:12").code == 0
    after = receipt(copy)
    latency = measured(after, "latency")
    assert latency["run median"]["value"] == 12
    assert latency["run median"]["unit"] == "ms"
    assert latency["run median"]["device"].startswith("null: ")
    assert latency["run median"]["command"].startswith("edgekit profile ")
    assert after["verdict"] == before["verdict"]
    assert edgekit("verify", copy).code == 0
    assert edgekit("profile", copy, "-d", "null:24").code == 0
    assert measured(receipt(copy), "latency")["run median"]["value"] == 24
    assert len(receipt(copy)["measurements"]) == len(after["measurements"])


def test_no_record_leaves_the_receipt_alone(edgekit: Edgekit, copy: Path) -> None:
    before = (copy / "receipt.json").read_bytes()
    assert edgekit("profile", copy, "-d", "null:12", "--no-record").code == 0
    assert (copy / "receipt.json").read_bytes() == before


def test_raw_samples_are_in_the_store(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    store = tmp_path / "own.sqlite"
    ran = edgekit("profile", copy, copy, "-d", "null:12", "--launches", 3, "--iterations", 7, "--store", store)
    assert ran.code == 0, ran.err
    with sqlite3.connect(store) as connection:
        assert connection.execute("SELECT count(*) FROM profiles").fetchone() == (2,)
        assert connection.execute("SELECT count(DISTINCT session) FROM profiles").fetchone() == (1,)
        order = connection.execute("SELECT profile_id FROM launches ORDER BY position").fetchall()
    assert [row[0] for row in order] == [1, 2, 2, 1, 1, 2]  # launches alternate
    assert [launch["samples_s"]["run"] for launch in launches(store)] == [[0.012] * 7] * 6


def test_this_machine(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    store = tmp_path / "own.sqlite"
    ran = edgekit("profile", copy, *LOCAL, "--threads", 1, "--store", store, "--json")
    assert ran.code == 0, ran.err
    (result,) = ran.json["results"]
    assert result["device"]["cores"] >= 1 and result["device"]["memory_bytes"] > 2**28
    assert result["threads"] == 1
    assert result["engine"].startswith("onnxruntime ")
    assert 0 < result["run"]["median"] < result["total"]["median"] < 10
    assert result["run"]["median"] <= result["run"]["p90"] <= result["run"]["p99"]
    assert result["peak_memory_bytes"] > 2**24
    assert any("fewer than three launches" in w for w in result["warnings"])
    runs = [launch["samples_s"]["run"] for launch in launches(store)]
    assert [len(r) for r in runs] == [5, 5]
    assert min(map(min, runs)) > 0
    assert {"run median", "total p99", "cold load"} <= measured(receipt(copy), "latency").keys()
    assert "peak" in measured(receipt(copy), "memory")
    assert edgekit("verify", copy).code == 0


def test_warnings_go_to_stderr(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("profile", packages["fp32"], "-d", "null:12", "--launches", 2, "--no-record")
    assert "warning: fewer than three launches" in ran.err
    assert "warning" not in ran.out


def test_compare_on_this_machine(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    before = {p: (p / "receipt.json").read_bytes() for p in packages.values()}
    ran = edgekit("compare", packages["w8a8"], packages["fp32"], *LOCAL, "--json")
    assert ran.code == 0, ran.err
    found = ran.json
    assert (found["a"], found["b"]) == ("shapes-cpu-w8a8", "shapes-cpu-fp32")
    for ratio in found["ratios"].values():
        assert ratio["launches"] == 2
        assert 0 < ratio["interval"][0] <= ratio["value"] <= ratio["interval"][1]
    assert {p: (p / "receipt.json").read_bytes() for p in packages.values()} == before


def test_compare_says_when_two_cannot_be_told_apart(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("compare", packages["w8a8"], packages["fp32"], "-d", "null:12")
    assert ran.code == 0
    assert ran.out.count("= 1.000 (1.000 to 1.000)  not told apart") == 2
    assert "A shapes-cpu-w8a8, B shapes-cpu-fp32, 7 launches each" in ran.out


def test_a_launch_that_dies_is_the_device_s_error(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(9)\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran = edgekit("profile", packages["fp32"], *LOCAL, "--no-record")
    assert ran.code == 4
    assert "exit code 9" in ran.err
    assert f"python -P -m edgekit.devices.launch {packages['fp32']}" in ran.err


def test_a_changed_package_is_not_measured(edgekit: Edgekit, copy: Path) -> None:
    (copy / "labels.txt").write_text("changed", encoding="utf-8")
    assert edgekit("profile", copy, "-d", "null:12").code == 6


def test_a_sustained_launch_has_a_curve(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    ran = edgekit("profile", copy, "--sustained", "8s", "--iterations", 3, "--store", tmp_path / "s.sqlite", "--json")
    assert ran.code == 0, ran.err
    (result,) = ran.json["results"]
    assert result["sustained"]["steady_median_s"] > 0 and result["sustained"]["length_s"] > 5
    (launch,) = launches(tmp_path / "s.sqlite")
    times = [point["at_s"] for point in launch["curve"]]
    assert times == sorted(times) and len(times) >= 5
    assert all(point["runs"] > 0 and point["sensors"]["memory_available_bytes"] > 0 for point in launch["curve"])
    row = measured(receipt(copy), "latency")["sustained"]
    assert row["unit"] == "ms" and "steady after" in row["note"] and row["samples"] == len(times)
    assert "--sustained 8s" in row["command"]


def test_streams_images_and_memory(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    words = ("--launches", 2, "--iterations", 3, "--seconds", 1, "--threads", 1, "--streams", 2)
    images = ("--images", SHAPES / "eval", "--image-count", 3)
    ran = edgekit("profile", copy, *words, *images, "--store", tmp_path / "s.sqlite")
    assert ran.code == 0, ran.err
    assert "of 2 streams at once, 1 threads each" in ran.out
    made = receipt(copy)
    assert measured(made, "speed")["throughput of 2 streams"]["value"] > 0
    memory = measured(made, "memory")
    assert memory["peak"]["value"] >= memory["steady"]["value"] >= memory["steady, own share"]["value"] > 10e6
    assert "3 images" in measured(made, "latency")["total median"]["note"]
    assert [launch["images"] for launch in launches(tmp_path / "s.sqlite")] == [3, 3]


def test_language_models_are_measured_at_several_depths(
    edgekit: Edgekit, text_packages: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(text_packages["fp32"], tmp_path / "copy"))
    ran = edgekit("profile", copy, "--launches", 2, "--iterations", 4, "--store", tmp_path / "s.sqlite")
    assert ran.code == 0, ran.err
    made = receipt(copy)
    assert measured(made, "latency")["first token"]["value"] > 0
    assert {"prompt", "decode"} <= measured(made, "speed").keys()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--sustained", "soon"), 2, "10m"),
        (("--sustained", "0s"), 2, "10m"),
        (("--sustained", "2d"), 2, "10m"),
        (("--sustained", "10s", "--launches", 3), 2, "one launch"),
        (("-d", "null:5", "--sustained", "10s"), 2, "sustained"),
        (("-d", "null:5", "--streams", 2), 2, "streams"),
        (("-d", "null:5", "--images", str(SHAPES / "eval")), 2, "images of one's own"),
        (("--images", "/nowhere"), 2, "nowhere"),
        (("--ops", "--strict"), 2, "--strict"),
        (("--machine", "cp311-aarch64"), 2, "--bundle"),
        (("--image-count", 3), 2, "--images"),
        (("-d", "sim:htp", "--ops"), 2, "operators"),
    ],
)
def test_what_makes_no_sense(
    words: tuple[object, ...], code: int, says: str, edgekit: Edgekit, packages: dict[str, Path]
) -> None:
    ran = edgekit("profile", packages["fp32"], *(() if "--ops" in words else ("--no-record",)), *words)
    assert ran.code == code and says in ran.err, ran.err


def test_language_models_read_no_images(edgekit: Edgekit, text_packages: dict[str, Path]) -> None:
    ran = edgekit("profile", text_packages["fp32"], "--images", SHAPES / "eval", "--no-record")
    assert ran.code == 2 and "no images" in ran.err


def test_strict_refuses_what_is_noisy(
    edgekit: Edgekit, copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from edgekit.devices import local

    before = (copy / "receipt.json").read_bytes()
    monkeypatch.setattr(local, "busy_share", lambda seconds: 0.9)
    words = (copy, "--launches", 3, "--iterations", 3, "--strict", "--store", tmp_path / "s.sqlite")
    ran = edgekit("profile", *words)
    assert ran.code == 1 and "90%" in ran.err and "nothing was recorded" in ran.err
    assert (copy / "receipt.json").read_bytes() == before
    assert len(launches(tmp_path / "s.sqlite")) == 3  # the raw samples are kept
    monkeypatch.setattr(local, "busy_share", lambda seconds: 0.0)
    assert edgekit("profile", *words).code == 0
    assert (copy / "receipt.json").read_bytes() != before


def test_a_bundle_runs_without_anything_installed(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    """As on a device without a network: another Python's folder is all that is written."""
    machine = f"cp3{sys.version_info[1]}-x86_64"
    ran = edgekit("profile", packages["fp32"], "--bundle", tmp_path / "b.pyz", "--machine", machine)
    if "cannot be downloaded" in ran.err or platform.machine() != "x86_64":
        pytest.skip(ran.err)
    assert ran.code == 0, ran.err
    bare = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    words = (
        "-m",
        "edgekit.cli.main",
        "profile",
        packages["fp32"],
        "--launches",
        2,
        "--iterations",
        3,
        "--no-record",
        "--json",
    )
    command = [sys.executable, "-S", tmp_path / "b.pyz", tmp_path / "unpacked", *words]
    done = subprocess.run(
        list(map(str, command)), env=bare, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"][0]["run"]["median"] > 0
    wrong = subprocess.run(
        [sys.executable, tmp_path / "b.pyz"], capture_output=True, text=True, encoding="utf-8", env=bare
    )
    assert wrong.returncode == 1 and "FOLDER" in wrong.stderr
