"""The same source, options and toolchain give the same bytes, wherever and whenever it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import HASTY, SOURCE, Edgekit

COMMAND = ("-p", "fp32", *HASTY[:-2], "--launches", 0, "--allow", "accuracy")  # and it is searched what stays in float


def converted_elsewhere(place: Path, **environment: str) -> Path:
    """The packages of a conversion that finds nothing of earlier ones."""
    for folder in ("cache", "tmp", "work"):
        (place / folder).mkdir(parents=True)
    shutil.copy(SOURCE, place / "work")
    ran = subprocess.run(
        [sys.executable, "-m", "edgekit.cli.main", "convert", SOURCE.name, *map(str, COMMAND), "-o", "../out"],
        env={**os.environ, "EDGEKIT_CACHE": str(place / "cache"), "TMPDIR": str(place / "tmp"), **environment},
        cwd=place / "work",
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stderr
    assert list((place / "tmp").iterdir()) == []
    return place / "out"


def test_two_conversions_give_the_same_bytes(edgekit: Edgekit, tmp_path: Path) -> None:
    """One here, with whatever this run has converted; one that knows nothing of it, in other circumstances."""
    one, ran = tmp_path / "here", edgekit("convert", SOURCE, *COMMAND, "-o", tmp_path / "here")
    assert ran.code == 0, ran.err
    other = {"PYTHONHASHSEED": "2", "EDGEKIT_THREADS": "3", "TZ": "Asia/Tokyo"}
    two = converted_elsewhere(tmp_path / "somewhere" / "else", **other)
    names = sorted(p.name for p in one.iterdir())
    assert names == ["shapes-cpu-fp32", "shapes-cpu-w8a8"]
    for name in names:
        for file in ("model.onnx", "manifest.json", "labels.txt"):
            assert (one / name / file).read_bytes() == (two / name / file).read_bytes(), file


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_nothing_of_this_machine_is_in_a_manifest(packages: dict[str, Path], precision: str) -> None:
    text = (packages[precision] / "manifest.json").read_text(encoding="utf-8")
    for private in (str(Path.home()), str(SOURCE.parent), "/tmp/", os.uname().nodename):
        assert private not in text
