"""What every check shares: its row, the machine it looks at, and the chips of a package."""

from __future__ import annotations

import enum
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.package import Package
from edgekit.runtime.soc import find_soc
from edgekit.target import Chip, targets


class State(enum.StrEnum):
    OK = "ok"
    PROBLEM = "problem"
    UNKNOWN = "cannot tell"


@dataclass(frozen=True)
class Check:
    """One thing that stops people: what was found of it, and what to do."""

    name: str
    state: State
    found: str
    next: str = ""


@dataclass(frozen=True)
class Machine:
    """What the checks look at. `root` and `environment` let tests show them another machine."""

    system: str  # as `platform.system()` says: Linux, Windows, Darwin, Android
    architecture: str  # in lower case: aarch64, arm64, x86_64
    soc: str  # its Snapdragon; "" where the system names none
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> Machine:
        return cls(platform.system(), platform.machine().lower(), find_soc(), Path("/"), dict(os.environ))

    @property
    def simulates(self) -> bool:
        return self.system == "Linux" and self.architecture in ("x86_64", "amd64")

    @property
    def may_be_snapdragon(self) -> bool:
        """Whether its processor could be one at all."""
        return self.system != "Darwin" and self.architecture in ("aarch64", "arm64")

    def __str__(self) -> str:
        return f"{self.system} {self.architecture}"


def known_chips() -> dict[str, Chip]:
    """Each Snapdragon of the targets, by every name that systems give it."""
    return {name: chip for t in targets().values() for chip in t.chips for name in (chip.soc, *chip.android)}


def chips_of(package: Package) -> dict[str, Chip | None]:
    """Of each part number a package names, what the targets know of it: None for nothing. Names of
    one chip count once."""
    known, chips = known_chips(), dict[str, Chip | None]()
    for name in package.manifest.engine.chips:
        chip = known.get(name)
        chips[chip.soc if chip else name] = chip
    return chips
