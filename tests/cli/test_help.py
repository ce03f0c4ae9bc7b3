"""Every verb is listed, explained and documented."""

from __future__ import annotations

import re

import click
import pytest

from edgekit.cli.main import VERBS, cli
from tests.cli.commands import Edgekit
from tests.data import ROOT


def command(verb: str) -> click.Command:
    found = cli.get_command(click.Context(cli), verb)
    assert found is not None
    return found


def test_help_lists_every_verb(edgekit: Edgekit) -> None:
    ran = edgekit("--help")
    assert ran.code == 0
    for verb, sentence in VERBS.items():
        assert f"{verb} " in ran.out and sentence in ran.out


def test_every_module_of_a_verb_is_listed() -> None:
    shared = {
        "--init--",
        "apart",
        "completion",
        "elsewhere",
        "summary",
        "task_options",
        "unused",
        "arguments",
        "console",
        "secret",
        "ending",
        "generation",
        "main",
        "operators",
        "output",
        "text-options",
    }
    modules = {p.stem.replace("_", "-") for p in (ROOT / "edgekit" / "cli").glob("*.py")}
    assert modules - shared == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_fits_and_says_what_it_does(
    edgekit: Edgekit, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    ran = edgekit(verb, "--help")
    assert ran.code == 0 and ran.err == ""
    assert ran.out.startswith(f"Usage: edgekit {verb} ")
    assert max(map(len, ran.out.splitlines())) <= 100
    assert (command(verb).help or "").strip().split("\n\n")[0].endswith(".")
    assert edgekit(verb, "-h").out == ran.out


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_fits_a_terminal_of_80_columns(edgekit: Edgekit, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = edgekit(*([verb] if verb else []), "--help")
    assert not [line for line in ran.out.splitlines() if len(line) > 80]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_sentence(verb: str) -> None:
    for option in command(verb).params:
        if isinstance(option, click.Option) and not option.hidden:
            assert (option.help or "").rstrip(")").endswith("."), option.opts


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_takes_json(verb: str) -> None:
    assert any("--json" in option.opts for option in command(verb).params)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    """In a code block or between backticks, as a word of its own."""
    code = re.findall(r"```.*?```|`[^`\n]+`", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert any(re.search(rf"(?<![\w-]){verb}(?![\w-])", text) for text in code)


def test_the_version_is_that_of_the_package(edgekit: Edgekit) -> None:
    from edgekit import __version__

    assert edgekit("--version").out.split()[-1] == __version__
