"""A few of the kills of `kills.py`, aimed at the writes of what is quick: `make kills` makes a hundred."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sys
from pathlib import Path

import pytest

from tests.attacks import kills

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
QUICK = ("pack", "unpack", "report")


def test_kills_lose_nothing_and_leave_nothing(tmp_path: Path, packages: dict[str, Path]) -> None:
    random.seed(0)
    template = kills.Place(tmp_path / "template")
    shutil.copytree(packages["fp32"], template.out / kills.NAME)
    runs = {r.name: r for r in kills.RUNS}
    kills.finish_template(template)
    counts = kills.kill([runs[n] for n in QUICK], 9, template, tmp_path / "work", aimed=1.0)
    assert sum(c["kills"] for c in counts.values()) >= 6
    for name, found in counts.items():
        assert not {c: found[c] for c in kills.COLUMNS[1:] if found[c]}, name


@pytest.mark.parametrize("number", range(4))
def test_a_kill_between_two_renames_costs_nothing(tmp_path: Path, packages: dict[str, Path], number: int) -> None:
    """Where the file system exchanges nothing; before each of the last renames of `unpack`."""
    template, place = kills.Place(tmp_path / "template"), kills.Place(tmp_path / "place")
    shutil.copytree(packages["fp32"], template.out / kills.NAME)
    kills.finish_template(template)
    unpack = next(r for r in kills.RUNS if r.name == "unpack")
    run = dataclasses.replace(unpack, exchange="without")
    run.prepare(template, place)
    seen = kills.writes(run, place)
    renames = [i for i, event in enumerate(seen, 1) if event.startswith("os.rename")]
    if number >= len(renames):
        pytest.skip("it renames less")
    assert len(renames) >= 3
    run.prepare(template, place)
    found = kills.one_kill(run, template, tmp_path / "killed", 0, 0.0, True, renames[number])
    assert +found == {"kills": 1}
