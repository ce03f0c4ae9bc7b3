"""A few cases of the fuzzer for each reader, always the same ones; `make fuzz` runs it for as long as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.attacks import fuzz
from tests.attacks.fuzzing import judging, raw
from tests.attacks.fuzzing.case import Case, Place, Random
from tests.data import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits of Linux")


def run(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "tests.attacks.fuzz", "--keep", str(folder / "failures"), *arguments]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    return ran.stdout.splitlines()[-1]


def test_a_few_cases_of_what_is_quick(tmp_path: Path) -> None:
    readers = [word for name in fuzz.QUICK for word in ("--reader", name)]
    assert run(tmp_path, "--cases", "3", "--seed", "3", *readers).split()[1] == str(3 * len(fuzz.QUICK))


@pytest.mark.slow
def test_all_readers(tmp_path: Path) -> None:
    assert run(tmp_path, "--cases", "12", "--seed", "4").split()[1] == str(12 * len(fuzz.READERS))


def test_the_same_seed_gives_the_same_case() -> None:
    content = bytes(range(256)) * 4
    assert raw.mutate(Random("1:x:1"), content) == raw.mutate(Random("1:x:1"), content)


@pytest.mark.parametrize(
    ("ended", "err", "watched", "kind"),
    [
        ({"code": 0}, "", [], "accepted"),
        ({"code": 5}, "error: m.pt is damaged\n  next: copy it again\n", [], "refused"),
        ({"code": 5}, "error: one\nerror: two\n", [], "unclear"),
        ({"code": 5}, "", [], "unclear"),
        ({"code": 5}, "error: \x1b[31mred\n", [], "unclear"),
        ({"code": 70}, "Traceback (most recent call last):\n", [], "traceback"),
        ({"code": 4}, "error: There is not enough memory for this\n", [], "memory"),
        ({"signal": 11}, "", [], "signal"),
        ({"hang": 30}, "", [], "hang"),
        ({"code": 0}, "", ["run: the canary exists"], "code"),
        ({"code": 0}, "", ["file: the secret was read"], "outside"),
    ],
)
def test_what_an_end_means(ended: dict[str, object], err: str, watched: list[str], kind: str, tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path)
    (tmp_path / "stderr").write_text(err, encoding="utf-8")
    assert judging.judge(Case("", ["inspect", "x"]), place, ended, watched).kind == kind


def test_what_only_an_attacker_writes_must_not_be_accepted(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, tmp_path, tmp_path, tmp_path)
    assert judging.judge(Case("", ["inspect", "x"], lie=True), place, {"code": 0}, []).kind == "lie"
