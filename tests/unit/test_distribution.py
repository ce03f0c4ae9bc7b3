"""What is installed is ours: `edgekit` on PyPI is another project's."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from edgekit.system.distribution import DISTRIBUTION, install
from tests.data import ROOT

_EXTRAS = re.compile(r"(?<![\w./-])edgekit\[\w")
_INSTALLED = re.compile(r"pip3? (?:install|download|wheel) (?:[^\n`&|;()]*[ '\"])?edgekit(?=[\s'\"`=<>,.;)]|$)", re.M)
_READ = (".md", ".py", ".toml", ".txt", ".sh", ".j2", ".yml", ".ipynb", "Makefile", "Dockerfile", "run")


def texts() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("not in a git checkout")
    return [n for n in listed.stdout.splitlines() if n.endswith(_READ) and (ROOT / n).is_file()]


def test_the_project_installs_under_the_name_that_messages_give() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    assert install() == f"pip install {DISTRIBUTION}"
    assert install("convert,qnn", upgrade=True) == f"pip install -U '{DISTRIBUTION}[convert,qnn]'"


@pytest.mark.parametrize("line", ["pip install 'edgekit[runtime]'", "pip install -U edgekit", 'pip install "edgekit"'])
def test_the_old_form_is_seen(line: str) -> None:
    assert _EXTRAS.search(line) or _INSTALLED.search(line)


def test_no_line_installs_a_strangers_project() -> None:
    lines = []
    for name in texts():
        text = (ROOT / name).read_text(encoding="utf-8")
        if name != "tests/unit/test_distribution.py":
            lines += [f"{name}: {m[0]}" for r in (_EXTRAS, _INSTALLED) for m in r.finditer(text)]
    assert lines == []
