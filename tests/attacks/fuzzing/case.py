"""One case of the fuzzer: what it is made of, and what edgekit is asked to do with it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Random = random.Random


@dataclass
class Case:
    """`command`: arguments of `edgekit`. `call`: Python that a forked process runs in its place, for what takes
    the command line seconds to reach; where that ends without an error the command decides. `lie`: what only an attacker writes, so it must not be accepted."""

    note: str
    command: list[str] = field(default_factory=list)
    call: Callable[[], Any] | None = None
    lie: bool = False
    seconds: float = 30.0


@dataclass(frozen=True)
class Place:
    """Where a case lives. `folder`: its input; `out`: what it may write; `seeds`: honest inputs, read-only;
    `secret`: a file that nothing may open; `canary`: what exists once code was run."""

    folder: Path
    out: Path
    seeds: Path
    secret: Path
    canary: Path


Reader = Callable[[Random, Place], Case]
