"""The pages that people read, and what stands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.data import ROOT

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
_COMMENT = re.compile(r"\s+# .*$")


@dataclass(frozen=True)
class Command:
    """A line of a shell block, continued lines joined, without its comment."""

    page: str
    line: str


def pages() -> list[Path]:
    """README, CONTRIBUTING, CHANGELOG, everything below docs/, and the samples' own."""
    found = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    return [*found, *(ROOT / "samples").rglob("README.md")]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks in a language; "" for those that name none."""
    return [text for kind, text in _FENCE.findall(read(page)) if kind == language]


def outputs(page: Path) -> dict[str, str]:
    """By command, what the page says that it prints: a block without a language right after the command's."""
    pairs = re.findall(r"^```sh\n([^`]*)^```\n\n```\n([^`]*)^```$", read(page), re.M)
    return {_commands(block)[-1]: text.strip() for block, text in pairs}


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", read(page))


def commands(page: Path) -> list[Command]:
    """Each command of the page's shell blocks."""
    return [Command(name_of(page), line) for line in _commands("\n".join(blocks(page, "sh")))]


def _commands(block: str) -> list[str]:
    lines = (_COMMENT.sub("", line).strip() for line in block.replace("\\\n", " ").splitlines())
    return [" ".join(line.split()) for line in lines if line]
