"""A full disk, Ctrl-C and SIGTERM: nothing half-written, and the same command goes on."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data import SHAPES

# The least that makes a w8a8 package of the sample, as ONNX, which is read in no time.
QUANTISE = ("-p", "w8a8", "--calibration", SHAPES / "calibration", "--calibration-images", 2, "--float-layers", 0)


def convert(source: Path, *words: object) -> list[str]:
    return [sys.executable, "-m", "edgekit.cli.main", "convert", *map(str, (source, *words)), "--launches", "0"]


def leftovers(folder: Path) -> list[str]:
    starts = (".partial", ".model", "edgekit-")
    return [p.name for p in folder.rglob("*") if p.name.startswith(starts)]


@pytest.mark.parametrize("kilobytes", [4, 300, 1500])
def test_a_full_disk(tmp_path: Path, kilobytes: int, packages: dict[str, Path]) -> None:
    """Files that may not grow stand for a disk that is full: the same OSError from the same call."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 1024,) * 2)

    environment = {**os.environ, "EDGEKIT_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    ran = subprocess.run(
        convert(packages["fp32"] / "model.onnx", "-p", "fp32", "-o", tmp_path / "out"),
        env=environment,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 5, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "free some space" in ran.stderr
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True
    assert not leftovers(tmp_path)


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_half_written_and_work_continues(tmp_path: Path, packages: dict[str, Path]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "EDGEKIT_QUIET"}
    environment["EDGEKIT_CACHE"] = str(tmp_path / "cache")
    command = convert(packages["fp32"] / "model.onnx", "-p", "fp32", *QUANTISE, "-o", tmp_path / "out")
    # A session of its own, so that the signal reaches the whole group, as a terminal's does; and not
    # ignored, as it is in what a shell starts in the background.
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        encoding="utf-8",
        errors="replace",
    )
    assert process.stderr is not None
    said = ""
    deadline = time.monotonic() + 120
    while "measuring sensitivity" not in said and time.monotonic() < deadline:
        said += process.stderr.readline()
    os.killpg(process.pid, signal.SIGINT)
    rest = process.communicate(timeout=30)[1]
    assert process.returncode == 130, said + rest
    assert "Interrupted" in rest
    assert "Traceback" not in rest
    assert not (tmp_path / "out").exists() or not leftovers(tmp_path / "out")
    assert not leftovers(tmp_path)
    again = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", errors="replace")
    assert again.returncode == 0, again.stderr
    assert "reading model.onnx" not in again.stderr  # that step was finished and kept
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["model-cpu-fp32", "model-cpu-w8a8"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_polite_kill_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    """In the middle of a step."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "EDGEKIT_CACHE": str(tmp_path / "cache")}
    code = (
        "import sys, time, tempfile; from pathlib import Path; from edgekit import cache; from edgekit.cli import main\n"
        "def wait(work):\n    tempfile.mkdtemp(); print('working', flush=True); time.sleep(60)\n"
        "main.run = lambda a: cache.step('anything', wait)\n"
        "main.main([])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    assert leftovers(tmp_path)
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert not leftovers(tmp_path)
