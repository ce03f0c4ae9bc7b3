"""profile and compare: exact on a device with fixed timings, and whole on this machine."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Edgekit, measured, receipt

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
