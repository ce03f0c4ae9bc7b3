"""Under which licence a model is published, as its folder or file states it: evidence for a receipt, and no
more than that. Bounded, and one line of printable text."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

from edgekit.errors import SourceError
from edgekit.sources.files import contained
from edgekit.system.documents import JsonObject

CARD = "README.md"
TEXTS = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md", "COPYING")
_LARGEST = 2**16  # bytes that are looked at
_LONGEST = 80  # characters of a licence's name
_NAMELESS = ("other", "unknown")
_NOTHING, _BLOCKS = ("", "null", "~", "none"), ("|", ">", "|-", ">-", "|+", ">+")  # of YAML
_FIELD = re.compile(r"\s*licen[sc]e(_name)?\s*:(.*)", re.IGNORECASE)
_ITEM = re.compile(r"\s*-\s+(.+)")
_SPDX = re.compile(r"SPDX-License-Identifier:\s*(\S[^\n*]*)")


def of_folder(folder: Path, config: JsonObject) -> str:
    """The licence that the model card names, else config.json, else the licence's own text; "" where none does."""
    licence = _of_card(_text(folder, CARD)) or printed(config.get("license") or config.get("licence"))
    if licence and licence.lower() not in _NAMELESS:
        return licence
    return next((name for file in TEXTS if (name := _of_text(_text(folder, file)))), licence)


def files_of(folder: Path) -> list[Path]:
    """The files that `of_folder` may read."""
    return [folder / n for n in (CARD, *TEXTS) if (folder / n).is_file()]


def printed(value: object) -> str:
    """A name, or several, in one line; "" for anything else."""
    if isinstance(value, list):
        return ", ".join(p for v in value[:8] if (p := printed(v)))[:_LONGEST]
    text = " ".join(value[:1000].split()) if isinstance(value, str) else ""
    return text[:_LONGEST] if text.isprintable() else ""


def _of_card(card: str) -> str:
    """The licence in the front matter, YAML between two lines of three dashes at the beginning. Only a line or a
    list of plain names is read."""
    lines = card.lstrip("\ufeff").splitlines()
    if not lines or lines[0].strip() != "---":
        return ""
    named: dict[str, str] = {}
    for at, line in enumerate(lines[1:], 1):
        if line.strip() in ("---", "..."):
            break
        field = _FIELD.fullmatch(line)
        if not field or line[0].isspace():
            continue
        value = _plain(field[2])
        if value in _BLOCKS:
            value = " ".join(" ".join(_indented(lines[at + 1 :])).split())
        value = value or ", ".join(_items(lines[at + 1 :]))
        if value.lower() in _NOTHING:
            continue
        named.setdefault((field[1] or "").lower(), printed(value))
    stated = named.get("", "")
    return named.get("_name") or stated if stated.lower() in _NAMELESS else stated


def _indented(lines: list[str]) -> list[str]:
    """The indented lines at the beginning: a value that begins in the line below its key."""
    return list(itertools.takewhile(lambda line: line[:1].isspace(), lines[:8]))


def _items(lines: list[str]) -> list[str]:
    items = []
    for line in lines[:8]:
        item = _ITEM.fullmatch(line)
        if not item:
            break
        items.append(_plain(item[1]))
    return items


def _plain(value: str) -> str:
    """The text without a comment, quotes and the brackets of a list in one line."""
    value = re.split(r"(?:^|\s)#", value, maxsplit=1)[0].strip()
    if value.startswith("[") and value.endswith("]"):
        return ", ".join(_plain(v) for v in value[1:-1].split(","))
    return value.strip("'\"").strip()


def _of_text(text: str) -> str:
    """The identifier that a licence's text states, or its title, which is its first line."""
    stated = _SPDX.search(text)
    if stated:
        return printed(stated[1])
    lines = (line.strip(" \t#*=-") for line in text.splitlines())
    return printed(next((line for line in lines if line and not line.lower().startswith("copyright")), ""))


def _text(folder: Path, name: str) -> str:
    if not (folder / name).is_file():
        return ""
    try:
        with contained(folder, name).open("rb") as file:
            return file.read(_LARGEST).decode("utf-8", "replace")
    except (OSError, SourceError):  # a link that leads elsewhere, a pipe: it then states none
        return ""
