"""Every command of the pages is one: its verb, options and values exist. `python -m tests.docs.run` runs them."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import click
import pytest

from edgekit.cli.main import cli
from edgekit.cli.verbs import command_of
from tests.data import ROOT
from tests.docs.pages import Command, commands, pages, read

COMMANDS = [c for page in pages() for c in commands(page)]
_EXTRAS = re.compile(r"\[([a-z,-]+)\]")
_OF_OTHERS = (
    "docker",
    "git",
    "scp",
    "ssh",
    "sudo",
    "apt",
    "systemctl",
    "journalctl",
    "adb",
    "rsync",
    "cd",
    "source",
    ".",
)


def words(command: Command) -> list[str]:
    """Without what a shell makes of the rest: pipes, and commands after the first."""
    parts = shlex.split(command.line)
    return parts[: next((i for i, p in enumerate(parts) if p in ("|", "&&", ";", ">")), len(parts))]


def verbs() -> set[str]:
    return {c.line.split()[1] for c in COMMANDS if c.line.startswith("edgekit ")}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.page}: {c.line[:60]}")
def test_it_is_a_command(command: Command) -> None:
    program, *arguments = words(command)
    name = Path(program).name
    if name == "edgekit":
        verb, *rest = arguments
        if verb == "hub-emulator":  # of another distribution
            rest = rest[rest.index("--") + 2 :] if "--" in rest else []
            verb, rest = (rest[0], rest[1:]) if rest else ("doctor", [])
        found = command_of(verb)
        assert found is not None, f"there is no verb {verb}"
        above = click.Context(cli, info_name="edgekit", **cli.context_settings)
        context = found.make_context(verb, [a for a in rest if a != "…"], parent=above)
        assert isinstance(context, click.Context)
    elif name == "make":
        makefile = read(ROOT / "Makefile")
        assert all(re.search(rf"^{a}:", makefile, re.M) for a in arguments if "=" not in a)
    elif name in ("pip", "pip3") or arguments[:2] == ["-m", "pip"]:
        extras = tomllib.loads(read(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]
        listed = {e for a in arguments for group in _EXTRAS.findall(a) for e in group.split(",")}
        assert listed - {"EXTRA"} <= extras.keys()
    elif name in ("python", "python3", "pytest"):
        files = [a for a in arguments if a.endswith(".py") and "/" in a]
        assert all((ROOT / f).is_file() for f in files)
    else:
        assert name in _OF_OTHERS, f"nothing checks {command.line!r}"


def test_the_pages_show_most_verbs() -> None:
    assert {"convert", "detect", "generate", "chat", "serve", "profile", "compare", "report", "doctor"} <= verbs()
