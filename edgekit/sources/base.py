"""The seam between what a user trained and edgekit: a `Source` reads it into a `Model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.model import Model, TextModel


@dataclass(frozen=True)
class SourceOptions:
    """What the user may say about a source. Everything unset is read from the source itself."""

    image_size: tuple[int, int] | None = None  # (height, width) in pixels
    labels: tuple[str, ...] = ()
    decoder: str = ""
    image: dict[str, Any] = field(default_factory=dict)  # ImageSpec fields to override
    context: int | None = None  # tokens a language model is to keep


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


class TextSource(Protocol):
    """A source of language models: told from the others by `text`."""

    name: str
    text: bool

    def matches(self, path: str) -> bool: ...

    def files(self, path: str) -> list[Path]: ...

    def read(self, path: str, options: SourceOptions, into: Path) -> TextModel:
        """Tokenizer and config go to the folder `into`; weights stay where they are."""
        ...

    def network(self, model: TextModel, dtype: str) -> Any:
        """A transformers model with its weights in memory: "float32", or "auto" for as they are
        stored. Layers that the source keeps quantised may be `layers.packed.PackedLinear`."""
        ...
