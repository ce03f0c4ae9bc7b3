"""What of edgekit's optional parts is installed, and the command that installs the rest."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from edgekit.aihub.environment import client_python
from edgekit.errors import MissingError
from edgekit.runtime.ranges import within

EXTRAS = ("runtime", "litert", "images", "convert", "tflite", "qnn", "aihub", "report")


@dataclass(frozen=True)
class Extra:
    """`missing`: distributions that are not there, or not in the versions that this edgekit is tested with."""

    missing: tuple[str, ...]
    install: str = ""


def extras() -> dict[str, Extra]:
    return {name: _hub_client() if name == "aihub" else _extra(name) for name in EXTRAS}


def _extra(name: str) -> Extra:
    missing, other = list[str](), list[str]()
    for distribution, allowed in requirements(name).items():
        found = installed(distribution)
        if not found:
            missing.append(distribution)
        elif within(found, allowed) is False:
            other.append(f"{distribution} {allowed} (here is {found})")
    if name == "litert" and find_spec("tflite_runtime"):  # which does as well
        missing = []
    install = f"pip install {'-U ' if other else ''}'edgekit[{name}]'"
    return Extra((*missing, *other), install if missing or other else "")


def _hub_client() -> Extra:
    """It lives in an environment of its own, so this one's packages say nothing of it."""
    try:
        client_python()
    except MissingError as error:
        return Extra(("qai-hub",), error.next)
    return Extra(())


def requirements(extra: str) -> dict[str, str]:
    """The distributions an extra asks for on this system, each with its range."""
    found = {}
    for line in requires("edgekit") or []:
        requirement, _, marker = line.partition(";")
        marker = marker.replace("'", '"')
        if f'extra == "{extra}"' not in marker:
            continue
        if 'sys_platform != "darwin"' in marker and sys.platform == "darwin":
            continue
        name, allowed = split(requirement)
        found[name] = allowed
    return found


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
