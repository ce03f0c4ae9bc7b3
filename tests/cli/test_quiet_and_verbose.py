"""Progress: none, some, or all of it; results are the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from edgekit import progress
from tests.cli.commands import SOURCE, Edgekit


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_QUIET")


def convert(edgekit: Edgekit, out: Path, *options: str) -> tuple[str, str]:
    ran = edgekit("convert", SOURCE, "--image-size", 64, "--launches", 0, "-o", out, *options)
    assert ran.code == 0, ran.err
    return ran.out, ran.err


@pytest.mark.slow
def test_quiet_and_verbose(edgekit: Edgekit, tmp_path: Path) -> None:
    quiet, nothing = convert(edgekit, tmp_path, "-q")
    usual, some = convert(edgekit, tmp_path)
    verbose, most = convert(edgekit, tmp_path, "-v")
    assert quiet == usual == verbose and nothing == ""
    assert "compiling" in some and "[" not in some
    assert "taken from" in most and " s] " in most
    assert "EDGEKIT_QUIET" not in os.environ and "EDGEKIT_VERBOSE" not in os.environ


def test_verbose_says_where_an_error_arose(edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"no checkpoint")
    assert "Traceback" not in edgekit("convert", tmp_path / "a.pt").err
    ran = edgekit("convert", tmp_path / "a.pt", "--verbose")
    assert ran.code == 5 and "Traceback" in ran.err and "error: " in ran.err


def test_long_work_is_heard_of(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.02)
    with progress.waiting("reading a.pt"):
        time.sleep(0.2)
    said = capfd.readouterr().err.splitlines()
    assert said[0] == "reading a.pt" and said[1] == "  reading a.pt: 0 s so far"
