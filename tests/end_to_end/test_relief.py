"""The sample language model and its application: 1.58 bits, from a clone, without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import Edgekit, measured, receipt
from tests.data import ROOT

RELIEF = ROOT / "samples" / "relief"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, edgekit: Edgekit) -> Path:
    out = tmp_path_factory.mktemp("relief")
    ran = edgekit(
        "convert",
        RELIEF / "model",
        "--name",
        "relief",
        "--eval",
        RELIEF / "heldout.txt",
        "--eval-windows",
        6,
        "--launches",
        0,
        "-o",
        out,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    assert ran.json["packages"][0]["precision"] == "ternary"  # what it is already
    return out / "relief-cpu-ternary"


def script(name: str, *arguments: object) -> str:
    command = [sys.executable, str(RELIEF / name), *map(str, arguments)]
    ran = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_model_is_small_enough_to_come_along(package: Path) -> None:
    assert sum(f.stat().st_size for f in (RELIEF / "model").iterdir()) < 2e6
    assert sum(f.stat().st_size for f in package.iterdir()) < 2e6
    accuracy = measured(receipt(package), "accuracy")
    assert accuracy["KL divergence"]["value"] < 2e-3 and accuracy["same top token"]["value"] > 0.99


def test_it_answers_from_the_documents_and_names_them(package: Path) -> None:
    pytest.importorskip("bm25s")
    said = script("ask.py", package, "When does the clinic at Harrow School open?")
    assert "08:00 [1]" in said and "clinics.md" in said
    said = script("ask.py", package, "zzzz qqqq?")
    assert said.strip() == "The documents do not say."


def test_most_questions_are_answered_as_in_training(package: Path) -> None:
    """Through the runtime, and as the network answered that was trained."""
    pytest.importorskip("bm25s")
    said = script("evaluate.py", "--package", package, "--count", 0)
    right = int(said.split("documents: ")[1].split()[0])
    assert right >= 22
