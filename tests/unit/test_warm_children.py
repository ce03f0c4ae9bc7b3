"""Children that start warm are to tests what cold ones are."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.system import child
from tests.warm_children import Nursery

BOTH = pytest.mark.parametrize("cold", [False, True], ids=["warm", "cold"])
READER = ("edgekit.conversion.reading_child", str(2**32), "60")


def started(cold: bool | None, patch: pytest.MonkeyPatch, *words: str) -> Any:
    if not isinstance(child.subprocess, Nursery):
        pytest.skip("nothing starts warm in this run")
    if cold:
        patch.setenv("EDGEKIT_TEST_COLD", "1")
    command = [sys.executable, "-P", "-X", "utf8", "-m", *words]
    process = child.subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
    )
    assert cold is None or isinstance(process, subprocess.Popen) is cold
    return process


@BOTH
def test_it_ends_when_nobody_asks_it_any_more(cold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    process = started(cold, monkeypatch, *READER)
    assert process.poll() is None
    process.stdin.close()
    assert process.wait(60) == process.poll() == 0 and process.stdout.read() == b""


@BOTH
def test_a_signal_ends_it(cold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        process = started(cold, monkeypatch, *READER)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(number)
        assert process.wait(60) == -number


@BOTH
def test_an_exception_is_its_exit_code(cold: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert started(cold, monkeypatch, "edgekit.backends.worker", "/no/such/job.json").wait(60) == 1


@BOTH
def test_it_has_the_environment_and_the_folder_of_now(
    cold: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "mine.toml").write_text('about = "mine"\nbackend = "null"\nprecisions = ["fp32"]\n')
    monkeypatch.setenv("EDGEKIT_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    process = started(cold, monkeypatch, "edgekit.cli.main", "targets", "--json")
    assert os.readlink(f"/proc/{process.pid}/cwd") == str(tmp_path)
    assert "mine" in {t["name"] for t in json.loads(process.stdout.read())["targets"]}
    assert process.wait(60) == 0


def test_what_a_library_would_notice_makes_it_cold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", "/nowhere")
    process = started(None, monkeypatch, *READER)
    assert isinstance(process, subprocess.Popen)
    process.stdin.close()
    assert process.wait(60) == 0
