"""Converting where a package lies already: evidence is kept, and a better known package is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import settings
from tests.cli.commands import HASTY, SOURCE, Edgekit, measured, receipt
from tests.data import SHAPES
from tests.made_once import steps_without

SMALL = ("convert", SOURCE, "--image-size", 96, "-p", "fp32", "--launches", 0)
EVAL = ("--eval", SHAPES / "eval", "--eval-images", 4)


def test_the_same_artefact_keeps_its_evidence(edgekit: Edgekit, tmp_path: Path) -> None:
    package = tmp_path / "shapes-cpu-fp32"
    assert edgekit(*SMALL, *EVAL, "-o", tmp_path).code == 0
    before = receipt(package)
    again = edgekit(*SMALL, "-o", tmp_path)
    assert again.code == 0, again.err
    after = receipt(package)
    assert measured(after, "accuracy") == measured(before, "accuracy")
    assert after["not_checked"] == before["not_checked"] and after["verdict"] == before["verdict"]
    assert edgekit("verify", package).code == 0


def test_another_artefact_is_asked_about(edgekit: Edgekit, tmp_path: Path) -> None:
    package = tmp_path / "shapes-cpu-fp32"
    assert edgekit(*SMALL, *EVAL, "-o", tmp_path).code == 0
    before = receipt(package)
    other = ("convert", SOURCE, "--image-size", 64, "-p", "fp32", "--launches", 0, "-o", tmp_path)
    refused = edgekit(*other)
    assert refused.code == 2 and "--force" in refused.err and "mAP50-95 on 4" in refused.err
    assert receipt(package) == before
    assert edgekit(*other, "--force").code == 0
    assert "accuracy" not in {m["group"] for m in receipt(package)["measurements"]}
    assert edgekit(*SMALL, *EVAL, "-o", tmp_path).code == 0  # and one of which more is known replaces it


def test_less_data_than_before_is_asked_about(edgekit: Edgekit, tmp_path: Path) -> None:
    package = tmp_path / "shapes-cpu-fp32"
    assert edgekit(*SMALL, *EVAL, "-o", tmp_path).code == 0
    before = receipt(package)
    fewer = (*SMALL, "--eval", SHAPES / "eval", "--eval-images", 2, "-o", tmp_path)
    refused = edgekit(*fewer)
    assert refused.code == 2 and "on 4" in refused.err and "on 2" in refused.err and "--force" in refused.err
    assert receipt(package) == before
    assert edgekit(*fewer, "--force").code == 0
    assert {m["samples"] for m in receipt(package)["measurements"] if m["name"] == "mAP50-95"} == {2}


def test_what_was_compared_is_not_compared_again(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("convert", SOURCE, *HASTY, "--launches", 0, "--allow", "accuracy")
    assert edgekit(*command, "-o", tmp_path / "compiled").code == 0
    monkeypatch.setenv("EDGEKIT_CACHE", str(steps_without("verified", tmp_path / "cache")))
    assert edgekit(*command, "-o", tmp_path / "a").code == 0
    steps = settings.cache_folder() / "steps"
    before = {p.name for p in steps.glob("verified-*")}
    assert before
    assert edgekit(*command, "-o", tmp_path / "b").code == 0
    assert {p.name for p in steps.glob("verified-*")} == before
    one, other = (receipt(tmp_path / f / "shapes-cpu-w8a8") for f in "ab")
    assert one["measurements"] == other["measurements"]


def test_what_a_text_model_predicted_is_not_predicted_again(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))  # no other test's
    relief = SHAPES.parent / "relief"
    command = (
        "convert",
        relief / "model",
        "-p",
        "ternary",
        "--eval",
        relief / "heldout.txt",
        "--eval-windows",
        2,
        "--context",
        64,
        "--launches",
        0,
    )
    steps = settings.cache_folder() / "steps"
    assert edgekit(*command, "-o", tmp_path / "a").code == 0
    before = {p.name for p in steps.glob("verified-*")}
    assert before
    assert edgekit(*command, "-o", tmp_path / "b").code == 0
    assert {p.name for p in steps.glob("verified-*")} == before
    one, other = (receipt(next((tmp_path / f).iterdir())) for f in "ab")
    assert one["measurements"] == other["measurements"]
