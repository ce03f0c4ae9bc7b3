"""What of edgekit's optional parts is installed, and the command that installs the rest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec

from edgekit import registry
from edgekit.aihub.environment import client_python
from edgekit.errors import MissingError
from edgekit.runtime.opening import engine_named
from edgekit.runtime.ranges import within
from edgekit.system.distribution import DISTRIBUTION, install

# Not for users; and what is only for boards that are too old for LiteRT, since it asks for an older numpy.
_NOT_LISTED = {"dev", "tflite-runtime"}


@dataclass(frozen=True)
class Extra:
    """`missing`: distributions that are not there, or not in the versions that this edgekit is tested with."""

    missing: tuple[str, ...]
    install: str = ""


def extras() -> dict[str, Extra]:
    """Every extra that a user may want, as the distribution lists them."""
    names = [n for n in metadata(DISTRIBUTION).get_all("Provides-Extra") or [] if n not in _NOT_LISTED]
    return {name: _ELSEWHERE[name]() if name in _ELSEWHERE else _extra(name) for name in names}


def _extra(name: str) -> Extra:
    missing, other = list[str](), list[str]()
    instead = _alternatives(name)
    for distribution, allowed in requirements(name).items():
        have = installed(distribution)
        if not have:
            if not any(installed(n) or find_spec(n.replace("-", "_")) for n in instead.get(distribution, ())):
                missing.append(distribution)
        elif within(have, allowed) is False:
            other.append(f"{distribution} {allowed} (here is {have})")
    command = install(name, upgrade=bool(other))
    return Extra((*missing, *other), command if missing or other else "")


def _alternatives(extra: str) -> dict[str, tuple[str, ...]]:
    """By distribution, those that do as well for the engines that this extra alone installs."""
    engines = [engine_named(name) for name in registry.names("engines")]
    return {e.libraries[0]: e.libraries[1:] for e in engines if e.extra == extra and e.libraries}


def _hub_client() -> Extra:
    """It lives in an environment of its own, so this one's packages say nothing of it."""
    try:
        client_python()
    except MissingError as error:
        return Extra(("qai-hub",), error.next)
    return Extra(())


_ELSEWHERE = {"aihub": _hub_client}  # extras that are not installed into this environment


def requirements(extra: str) -> dict[str, str]:
    """The distributions an extra asks for on this system, each with its range."""
    ranges = {}
    for line in requires(DISTRIBUTION) or []:
        requirement, _, marker = line.partition(";")
        marker = marker.replace("'", '"')
        if f'extra == "{extra}"' not in marker:
            continue
        if 'sys_platform != "darwin"' in marker and sys.platform == "darwin":
            continue
        name, allowed = split(requirement)
        ranges[name] = allowed
    return ranges


def split(requirement: str) -> tuple[str, str]:
    """`onnxruntime>=1.32,<2` as its name and its range."""
    text = requirement.partition(";")[0].strip()
    end = next((i for i, c in enumerate(text) if c in "[<>=!~ ("), len(text))
    return text[:end], text[end:].partition("]")[2] if text[end : end + 1] == "[" else text[end:]


def installed(name: str) -> str:
    """The version of a distribution; "" when it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
