"""A few cases of the fuzzer for each reader, always the same ones; `make fuzz` runs it for as long as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.attacks import fuzz
from tests.attacks.fuzzing import judging, raw, seeds
from tests.attacks.fuzzing.case import Case, Place, Random
from tests.data import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and limits of Linux")


CASES = 3


def run(folder: Path, readers: Collection[str], seed: int, language: bool) -> str:
    """The fuzzer's last line, for honest inputs that are made here: their conversions need not start cold."""
    seeds.make(folder / "seeds", language)
    words = [word for name in readers for word in ("--reader", name)]
    words += ["--inputs", str(folder / "seeds"), "--cases", str(CASES), "--seed", str(seed)]
    command = [sys.executable, "-m", "tests.attacks.fuzz", "--keep", str(folder / "failures"), *words]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    return ran.stdout.splitlines()[-1]


@pytest.mark.slow
def test_what_is_quick(tmp_path: Path) -> None:
    assert run(tmp_path, fuzz.QUICK, 3, language=False).split()[1] == str(CASES * len(fuzz.QUICK))


@pytest.mark.slow
def test_what_needs_a_language_model(tmp_path: Path) -> None:
    others = fuzz.READERS.keys() - set(fuzz.QUICK)
    assert run(tmp_path, sorted(others), 4, language=True).split()[1] == str(CASES * len(others))


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
