"""The pages hold together: links, sizes, references that are made from the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

import edgekit
from edgekit import runtime
from edgekit.cli.verbs import VERBS
from tests.data import ROOT
from tests.docs.pages import name_of, pages, prose, read

_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)
README = ROOT / "README.md"


def reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "tools" / "reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them: lower case, no punctuation, hyphens for spaces."""
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in _HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in plain}


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    lost = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_file_of_the_code_that_is_named_exists(page: Path) -> None:
    """`tests/unit/test_imports.py`, or below edgekit/ and tests/; tests by their name alone."""
    places = (ROOT, ROOT / "edgekit", ROOT / "tests", page.parent)
    paths = re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|sh))`", prose(page))
    lost = [p for p in paths if not any((place / p).exists() for place in places)]
    lost += [n for n in re.findall(r"`(test_\w+\.py)`", prose(page)) if not list((ROOT / "tests").rglob(n))]
    assert lost == []


def test_the_readme_is_two_pages() -> None:
    assert len(read(README).splitlines()) <= 200


@pytest.mark.parametrize("page", [p for p in pages() if "decisions" not in p.parts], ids=name_of)
def test_a_link_says_where_it_leads(page: Path) -> None:
    assert not re.search(r"\[(?:below|above|here)\]\(", read(page))


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_every_page_can_be_reached_from_the_readme(page: Path) -> None:
    seen, todo = set[Path](), [README]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for link in _LINK.findall(prose(current)):
            target = (current.parent / unquote(link).partition("#")[0]).resolve()
            if target.is_dir():
                todo += target.rglob("*.md")
            elif target.suffix == ".md" and target.is_file():
                todo.append(target)
    assert page in seen or page == README


@pytest.mark.parametrize("name", ["api.md", "cli.md"])
def test_references_are_those_of_the_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert reference().pages()[name] == read(ROOT / "docs" / name), "run `make docs`"


def test_every_verb_is_in_the_reference() -> None:
    text = read(ROOT / "docs" / "cli.md")
    assert not [verb for verb in VERBS if f"\n## edgekit {verb}\n" not in text]


def test_every_public_name_is_in_the_reference() -> None:
    listed = {name for names in reference().PUBLIC.values() for name in names}
    public = [f"edgekit.{n}" for n in edgekit.__all__] + [f"edgekit.runtime.{n}" for n in runtime.__all__]
    assert not [
        n for n in public if n not in listed and n.replace("edgekit.load", "edgekit.runtime.load") not in listed
    ]


def test_the_figures_say_how_they_are_made_again() -> None:
    """Each table of docs/measurements.md has a command below it, before the next heading."""
    for section in re.split(r"^## ", read(ROOT / "docs" / "measurements.md"), flags=re.M)[1:]:
        assert re.search(r"^    (?:edgekit|python) |`(?:make|python|pytest) ", section, re.M), section.splitlines()[0]
