"""Plug-ins: sources, backends, engines, devices, tasks, specs, verbs, found through entry points.

The built-in ones are registered in pyproject.toml like any other. Standard library only.
"""

from __future__ import annotations

import functools
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from edgekit.errors import MissingError


@functools.cache
def _registered(kind: str) -> tuple[EntryPoint, ...]:
    """Looked for once: it takes a walk through all distributions."""
    return tuple(entry_points(group=f"edgekit.{kind}"))


def names(kind: str) -> list[str]:
    """Names registered under `edgekit.<kind>`, sorted."""
    return sorted({e.name for e in _registered(kind)})


def find(kind: str, name: str) -> Any:
    """The object registered as `name`, as it is. Raises MissingError when there is none."""
    entries: list[EntryPoint] = [e for e in _registered(kind) if e.name == name]
    if not entries:
        known = ", ".join(names(kind)) or "none; is edgekit installed?"
        raise MissingError(
            f"There is no {kind.rstrip('s')} called {name}",
            f"those registered: {known}",
            "install the extension that provides it",
        )
    return entries[0].load()


def load(kind: str, name: str) -> Any:
    """The object registered as `name`, instantiated when it is a class."""
    plugin = find(kind, name)
    return plugin() if isinstance(plugin, type) else plugin
