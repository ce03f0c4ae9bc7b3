"""Every verb is listed, explained and documented."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from edgekit.cli.main import cli
from edgekit.cli.verbs import VERBS, sentences
from tests.cli.commands import EVERY_VERB, Edgekit
from tests.data import ROOT


def command(verb: str) -> click.Command:
    found = cli.get_command(click.Context(cli), verb)
    assert found is not None
    return found


def test_help_lists_every_verb(edgekit: Edgekit) -> None:
    ran = edgekit("--help")
    assert ran.code == 0
    assert set(EVERY_VERB) <= set(sentences())
    for verb, sentence in sentences().items():
        assert f"{verb} " in ran.out and sentence in " ".join(ran.out.split())


def test_every_module_of_a_verb_is_listed() -> None:
    shared = {
        "--init--",
        "apart",
        "completion",
        "elsewhere",
        "summary",
        "durations",
        "bundles",
        "profile-tables",
        "unused",
        "verbs",
        "arguments",
        "console",
        "recipe",
        "secret",
        "ending",
        "generation",
        "main",
        "operators",
        "output",
        "task-options",
    }
    modules = {p.stem.replace("_", "-") for p in (ROOT / "edgekit" / "cli").glob("*.py")}
    assert modules - shared == set(VERBS)


@pytest.mark.parametrize("verb", EVERY_VERB)
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


@pytest.mark.parametrize("verb", ["", *EVERY_VERB])
def test_help_fits_a_terminal_of_80_columns(edgekit: Edgekit, verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ran = edgekit(*([verb] if verb else []), "--help")
    assert not [line for line in ran.out.splitlines() if len(line) > 80]


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_every_option_has_a_sentence(verb: str) -> None:
    for option in command(verb).params:
        if isinstance(option, click.Option) and not option.hidden:
            assert (option.help or "").rstrip(")").endswith("."), option.opts


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_every_verb_takes_json(verb: str) -> None:
    assert any("--json" in option.opts for option in command(verb).params)


def test_the_version_is_that_of_the_package(edgekit: Edgekit) -> None:
    from edgekit import __version__

    assert edgekit("--version").out.split()[-1] == __version__


def registered_verb(folder: Path, place: str, verb: str = "weigh") -> Path:
    """A folder for sys.path with a distribution that registers one verb."""
    metadata = folder / "scales-1.0.dist-info"
    metadata.mkdir()
    text = f"[console_scripts]\nother = scales:main\n\n[edgekit.verbs]\n{verb} = {place}\n"
    (metadata / "entry_points.txt").write_text(text, encoding="utf-8")
    (metadata / "METADATA").write_text("Name: scales\nSummary: Weigh packages.\n\nSummary: no\n", encoding="utf-8")
    code = "import click\n\n@click.command()\ndef weigh():\n    click.echo('3 kg')\n"
    (folder / "scales.py").write_text(code, encoding="utf-8")
    return folder


def test_another_distribution_adds_a_verb(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(registered_verb(tmp_path, "scales:weigh"))
    assert "weigh         Weigh packages." in edgekit("--help").out
    ran = edgekit("weigh")
    assert (ran.code, ran.out) == (0, "3 kg\n")


@pytest.mark.parametrize("place", ["scales:absent", "scales:click", "no_such_scales:weigh", "scales"])
def test_a_verb_that_is_broken_breaks_nothing_else(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.syspath_prepend(registered_verb(tmp_path, place))
    assert edgekit("--help").code == edgekit("targets").code == 0
    ran = edgekit("weigh")
    assert (ran.code, ran.out) == (3, "") and "Traceback" not in ran.err
    assert f"The verb weigh cannot be loaded from {place}" in ran.err and "uninstall" in ran.err


def test_a_built_in_verb_stays_what_it_is(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(registered_verb(tmp_path, "scales:weigh", verb="targets"))
    assert "3 kg" not in edgekit("targets").out
    assert "Weigh packages." not in edgekit("--help").out
