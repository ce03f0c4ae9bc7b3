"""Targets: TOML files that name a place where packages run. Data, no code, no secrets."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError, guard
from edgekit.spec import Precision, from_json
from edgekit.system.documents import read_utf8

_LARGEST = 2**20  # bytes of a target's file


@dataclass(frozen=True)
class Chip:
    """A Snapdragon as its compiler, its system and AI Hub know it."""

    soc: str  # its part number: SM8750
    soc_id: int  # and its number there
    htp: int  # Hexagon Tensor Processor architecture: 79 for v79
    fp16: bool = True  # whether it computes in floating point at all
    aihub: tuple[str, ...] = ()  # devices of AI Hub that measure it, the one to take first
    android: tuple[str, ...] = ()  # values of ro.soc.model that recognise it
    proxy: str = ""  # whose figures AI Hub gives for it, when not its own
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    """What somebody else measured on this chip of networks that have `operator` in them."""

    model: str
    operator: str  # as `edgekit.graph.count.has_operator` reads it: "AveragePool 2x2 stride 1"
    device: str
    precision: Precision
    ms: float
    source: str
    float_ms: float | None = None  # None on chips without floating point


@dataclass(frozen=True)
class Support:
    """How models of one task are made for a target."""

    backend: str
    precisions: tuple[Precision, ...]


@dataclass(frozen=True)
class Target:
    """A place where packages run. `tolerance`: limits by the names that tasks give them, where they differ from the
    task's own."""

    name: str
    about: str
    backend: str
    precisions: tuple[Precision, ...]
    devices: tuple[str, ...] = ()
    tolerance: dict[str, float] = field(default_factory=dict)
    source: str = ""
    integer: bool = False  # nothing in floating point, inputs and outputs included
    chips: tuple[Chip, ...] = ()  # of a Snapdragon target; several when merged
    published: tuple[Published, ...] = ()
    tasks: dict[str, Support] = field(default_factory=dict)  # those that are not compiled as graphs are

    def with_support(self, support: Support) -> Target:
        """The same, compiled by another backend."""
        return replace(self, backend=support.backend, precisions=support.precisions)


def targets() -> dict[str, Target]:
    """Built-in targets and those in the user's folder (`edgekit doctor` prints where that is)."""
    known: dict[str, Target] = {}
    for folder in (builtin_folder(), user_folder()):
        if folder.is_dir():
            for path in sorted(folder.glob("*.toml")):
                known[path.stem] = _read(path)
    return known


def find_target(name: str) -> Target:
    """A target by name, or by the path of its TOML. Raises UsageError naming the nearest."""
    if name.endswith(".toml"):
        return _read(Path(name))
    known = targets()
    if name not in known:
        near = _nearest(name, list(known.values()))
        raise UsageError(
            f"There is no target called {name}",
            f"the nearest: {', '.join(near)}" if near else "",
            f"edgekit targets lists all {len(known)}; one of your own is a TOML (docs/format.md)",
        )
    return known[name]


def _nearest(name: str, known: Sequence[Target]) -> list[str]:
    """Of which a part of the name or the description, a chip or a phone is written like that (`pi5`, `s25`,
    `sm8750`); else those with the same letters in that order (`rpi5`), or nearly (`snapdragon-9-elite`)."""
    plain = _plain(name)
    named = [
        t.name
        for t in known
        if len(plain) > 1
        and any(
            plain in _plain(w) for w in (t.name, t.about, *(w for c in t.chips for w in (c.soc, *c.android, *c.aihub)))
        )
    ]
    every = ".*".join(map(re.escape, plain))
    named = named or [t.name for t in known if plain and re.match(every, _plain(t.name))]
    return list(dict.fromkeys([*named, *difflib.get_close_matches(name, [t.name for t in known], 4)]))[:6]


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def merge(targets: Sequence[Target]) -> Target:
    """One target for the chips of several. Raises UsageError when that cannot be."""
    names = ", ".join(t.name for t in targets)
    if len(targets) < 2 or not all(t.chips for t in targets):
        raise UsageError(
            f"--merge cannot make one package for {names}",
            "it takes two or more Snapdragon targets",
            "name them with -t, or leave --merge out",
        )
    shared = tuple(p for p in targets[0].precisions if all(p in t.precisions for t in targets))
    if not shared:
        raise UsageError(f"{names} share no precision", "", "convert for each on its own")
    first = targets[0]
    return replace(
        first,
        name="+".join(t.name for t in targets),
        about=names,
        precisions=shared,
        tolerance=_strictest(targets),
        chips=tuple(c for t in targets for c in t.chips),
        published=tuple(p for t in targets for p in t.published),
    )


def _strictest(targets: Sequence[Target]) -> dict[str, float]:
    """A limit that only some of the targets name counts for all: it is the stricter one where it was written to be."""
    names = dict.fromkeys(n for t in targets for n in t.tolerance)
    return {n: min(t.tolerance[n] for t in targets if n in t.tolerance) for n in names}


def user_folder() -> Path:
    from edgekit.settings import config_folder

    return config_folder() / "targets"


def builtin_folder() -> Path:
    inside = Path(str(resources.files("edgekit"))) / "_targets"  # where the wheel puts them
    return inside if inside.is_dir() else Path(__file__).parent.parent / "targets"


def _read(path: Path) -> Target:
    with guard(UsageError, f"The target file {path} cannot be used", "see docs/format.md for its fields"):
        data: dict[str, Any] = tomllib.loads(read_utf8(path, _LARGEST))
        if "chip" in data:
            data["chips"] = [data.pop("chip")]
        if "text" in data:
            raise ValueError("[text] is written [tasks.text-generation] now")
        return from_json(Target, {"name": path.stem, **data})
