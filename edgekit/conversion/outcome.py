"""What a conversion gives for each target and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.package.receipt import Receipt
from edgekit.spec import Precision


@dataclass(frozen=True)
class Outcome:
    """What became of one target and precision. `path` is None when the package was refused."""

    name: str
    target: str
    precision: Precision
    path: Path | None
    receipt: Receipt
    seconds: float = 0.0  # that this run took for it, compiling and checking
    task: str = ""

    @property
    def refused(self) -> bool:
        """Whether no package was written, for what its receipt's `trips` say."""
        return self.path is None
