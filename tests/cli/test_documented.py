"""docs/command-line.md names every setting, exit code and document that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit import errors, settings
from tests.cli.commands import IMAGE, Edgekit
from tests.data import ROOT

DOCUMENT = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
CODE_OF_VERBS = [*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "tests" / "hub_emulator").rglob("*.py")]
CODE = "\n".join(p.read_text(encoding="utf-8") for p in CODE_OF_VERBS)


def test_every_setting() -> None:
    variables = set(re.findall(r"EDGEKIT_[A-Z]+(?:_[A-Z]+)*", CODE))
    variables |= {f"EDGEKIT_{name.upper()}" for name in settings.KNOWN}
    assert not [v for v in sorted(variables) if f"`{v}`" not in DOCUMENT]
    assert not [name for name in settings.KNOWN if f"| `{name}` |" not in DOCUMENT]


def test_every_exit_code() -> None:
    codes = {kind.exit_code for kind in errors.BY_NAME.values()} | {0, 70, 130}
    assert codes == {int(c) for c in re.findall(r"^\| (\d+) \|", DOCUMENT, re.MULTILINE)}


def test_every_document() -> None:
    said = set(re.findall(r"`edgekit\.([a-z.-]+)/1`", DOCUMENT))
    assert said == set(re.findall(r'emit\(\s*"([a-z.-]+)"', CODE)) | {"error"}


@pytest.mark.parametrize(
    "command",
    [
        ("inspect", "PACKAGE"),
        ("verify", "PACKAGE"),
        ("detect", "PACKAGE", IMAGE),
        ("doctor",),
        ("doctor", "--package", "PACKAGE"),
        ("targets",),
        ("backends",),
        ("compare", "PACKAGE", "PACKAGE", "-d", "null:12"),
        ("profile", "PACKAGE", "-d", "null:12", "--no-record"),
        ("report", "PACKAGE", "-o", "OUT/r.html"),
        ("pack", "PACKAGE", "-o", "OUT/a.edgepkg"),
        ("inspect", "absent"),
    ],
    ids=lambda c: "-".join(map(str, c[:2])),
)
def test_every_key(command: tuple[object, ...], edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    """At the top, and in the rows of its lists."""
    places = {"PACKAGE": str(packages["fp32"])}
    words = [places.get(str(w), str(w).replace("OUT", str(tmp_path))) for w in command]
    document = edgekit(*words, "--json").json
    schema = document.pop("schema")
    row = next(r for r in DOCUMENT.splitlines() if f"`{schema}`" in r)
    keys = set(document)
    own_format = {"inspect", "targets"}  # docs/format.md has the rest
    for rows in document.values() if command[0] not in own_format else ():
        if isinstance(rows, list) and rows and isinstance(rows[0], dict):
            keys |= rows[0].keys()
    assert not [k for k in sorted(keys) if f"`{k}`" not in row]
