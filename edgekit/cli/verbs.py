"""The verbs of the command line: the built-in ones, and those that other distributions register.

Another distribution adds a verb as an entry point of the group `edgekit.verbs`, whose name is the verb and
whose object is a `click.Command`. A built-in verb cannot be replaced.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from edgekit.errors import MissingError

GROUP = "edgekit.verbs"

VERBS = {
    "convert": "Turn a model into packages, each with its receipt.",
    "inspect": "Show what a package is and what its receipt says.",
    "verify": "Check every byte of packages against their manifests.",
    "pack": "Write a package as one .edgepkg file.",
    "unpack": "Write an .edgepkg file back as a folder.",
    "detect": "Find objects in images with a package.",
    "generate": "Continue a text with a language model.",
    "chat": "Talk with a language model.",
    "serve": "Answer the OpenAI protocol, for apps that speak it.",
    "profile": "Measure latency and memory of packages on a device.",
    "compare": "Measure two packages interleaved and print their ratio.",
    "report": "Write a single-file HTML report on packages.",
    "targets": "List the targets packages can be made for.",
    "backends": "List the compilers, and whether they are ready.",
    "devices": "List the devices packages can be measured on.",
    "doctor": "Check this installation and show every setting.",
}


class Registration(NamedTuple):
    """A verb that another distribution registers."""

    place: str  # module:object
    summary: str  # of the distribution


def command_of(verb: str) -> click.Command | None:
    """The command of `verb`, imported now, or None when no distribution has such a verb.

    Raises MissingError when the distribution that registers it cannot be loaded.
    """
    if verb in VERBS:
        module = importlib.import_module(f"edgekit.cli.{verb.replace('-', '_')}")
        command: click.Command = module.command
        return command
    registration = registered().get(verb)
    return _load(verb, registration.place) if registration else None


def sentences() -> dict[str, str]:
    """What each verb does, in one sentence, as `edgekit --help` lists them.

    That of another distribution's verb is the distribution's summary: no code of a stranger runs for a list.
    """
    return VERBS | {verb: registration.summary for verb, registration in sorted(registered().items())}


def registered() -> dict[str, Registration]:
    """The verbs that other distributions register.

    `importlib.metadata` finds the same; its import takes half as long as all of `edgekit --help`.
    """
    registrations: dict[str, Registration] = {}
    for folder, text in _entry_points():
        inside = False
        for line in text.splitlines():
            name, equals, place = (part.strip() for part in line.partition("="))
            if line.startswith("["):
                inside = line.strip() == f"[{GROUP}]"
            elif inside and equals and name not in VERBS:
                registrations.setdefault(name, Registration(place, _summary(folder)))
    return registrations


def _entry_points() -> Iterator[tuple[Path, str]]:
    """The metadata folder and the entry_points.txt of each installed distribution that names the group."""
    for folder in dict.fromkeys(sys.path):
        try:
            names = sorted(os.listdir(folder or "."))
        except OSError:  # an entry of sys.path need not be a folder, nor be there
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                try:
                    text = Path(folder, name, "entry_points.txt").read_bytes()
                except OSError:  # most distributions have none
                    continue
                if GROUP.encode() in text:
                    yield Path(folder, name), text.decode("utf-8", "replace")


def _summary(folder: Path) -> str:
    """The summary in a distribution's metadata, or its name where it has none."""
    for name in ("METADATA", "PKG-INFO"):
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        header = text.partition("\n\n")[0].splitlines()
        summary = next((line.partition(":")[2].strip() for line in header if line.startswith("Summary:")), "")
        if summary:
            return summary
    return f"Provided by {folder.stem.partition('-')[0]}."


def _load(verb: str, place: str) -> click.Command:
    module, _, attribute = place.partition(":")
    try:
        command = getattr(importlib.import_module(module.strip()), attribute.strip())
        if not isinstance(command, click.Command):
            raise TypeError(f"{place} is not a click.Command")
    except Exception as error:  # a stranger's module may raise anything
        raise MissingError(
            f"The verb {verb} cannot be loaded from {place}",
            f"{type(error).__name__}: {error}",
            "reinstall or uninstall the distribution that registers it",
        ) from error
    return command
