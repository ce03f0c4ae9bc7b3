"""The seam between what a user trained and edgekit: a `Source` reads it into a `Model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.model import Model


@dataclass(frozen=True)
class SourceOptions:
    """What the user may say about a source. Everything unset is read from the source itself."""

    image_size: tuple[int, int] | None = None  # (height, width) in pixels
    labels: tuple[str, ...] = ()
    decoder: str = ""
    image: dict[str, Any] = field(default_factory=dict)  # ImageSpec fields to override


class Source(Protocol):
    name: str

    def matches(self, path: str) -> bool:
        """Whether this source reads `path` (a file, a folder, or `module.py:function`)."""
        ...

    def files(self, path: str) -> list[Path]:
        """Every file the model is read from; empty when only running the source's code tells.

        Raises UsageError when one is not there."""
        ...

    def read(self, path: str, options: SourceOptions) -> Model:
        """Raises SourceError when the file is not what it seems, UsageError when it is ambiguous."""
        ...
