"""Targets: TOML files that name a place where packages run. Data, no code, no secrets."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.spec import Precision, from_json


@dataclass(frozen=True)
class Tolerance:
    """How much worse than its float original a package may be before it trips."""

    map_drop: float = 0.005  # mAP50-95, absolute (0.005 is 0.5 points)
    detection_error: float = 0.08  # score difference + overlap loss, where there are no boxes
    slower: float = 1.0  # latency ratio to the float parent; trips when its whole interval is above


@dataclass(frozen=True)
class Target:
    name: str
    about: str
    backend: str
    precisions: tuple[Precision, ...]
    devices: tuple[str, ...] = ()
    tolerance: Tolerance = Tolerance()
    source: str = ""
    integer: bool = False  # nothing in floating point, inputs and outputs included


def targets() -> dict[str, Target]:
    """Built-in targets and those in the user's folder (`edgekit doctor` prints where that is)."""
    found: dict[str, Target] = {}
    for folder in (_builtin_folder(), user_folder()):
        if folder.is_dir():
            for path in sorted(folder.glob("*.toml")):
                found[path.stem] = _read(path)
    return found


def find_target(name: str) -> Target:
    """A target by name, or by the path of its TOML. Raises UsageError listing those known."""
    if name.endswith(".toml"):
        return _read(Path(name))
    known = targets()
    if name not in known:
        raise UsageError(
            f"There is no target called {name}", "", f"known targets: {', '.join(sorted(known))}"
        )
    return known[name]


def user_folder() -> Path:
    from edgekit.settings import config_folder

    return config_folder() / "targets"


def _builtin_folder() -> Path:
    inside = Path(str(resources.files("edgekit"))) / "_targets"  # where the wheel puts them
    return inside if inside.is_dir() else Path(__file__).parent.parent / "targets"


def _read(path: Path) -> Target:
    try:
        data: dict[str, Any] = tomllib.loads(path.read_text())
        return from_json(Target, {"name": path.stem, **data})
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The target file {path} cannot be used", str(error), "see docs/format.md for its fields"
        ) from error
