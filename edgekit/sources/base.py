"""The seam between what a user trained and edgekit: a `Source` reads it into a `Model`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgekit.model import AnyModel, CheckpointModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class SourceOptions:
    """What the user may say about a source. Everything unset is read from the source itself."""

    image_size: tuple[int, int] | None = None  # (height, width) in pixels
    labels: tuple[str, ...] = ()
    decoder: str = ""
    image: dict[str, Any] = field(default_factory=dict)  # ImageSpec fields to override
    context: int | None = None  # tokens a language model is to keep

    @property
    def stated(self) -> tuple[str, ...]:
        """The names of the options that are set."""
        fields = (
            ("image_size", self.image_size),
            ("labels", self.labels),
            ("decoder", self.decoder),
            ("context", self.context),
        )
        return (*(name for name, value in fields if value), *self.image)


class Source(Protocol):
    """Reads one kind of file or folder. `form`: of the models it gives (edgekit/model.py); `task`: what such a model
    does where the user names no task."""

    name: str
    form: str
    task: str

    def matches(self, path: str) -> bool:
        """Whether this source reads `path` (a file, a folder, or `module.py:function`)."""
        ...

    def files(self, path: str) -> list[Path]:
        """Every file the model is read from; empty when only running the source's code tells.

        Raises UsageError when one is not there."""
        ...

    def read(self, path: str, options: SourceOptions, into: Path) -> AnyModel:
        """Reads the model. Files that belong to it, such as a tokenizer, go to the folder `into`; the weights of
        a checkpoint stay where they are. Raises SourceError when the file is not what it seems, UsageError
        when it is ambiguous."""
        ...


class CheckpointSource(Source, Protocol):
    """A source whose models are built from their weights by backends."""

    def network(self, model: CheckpointModel, dtype: str) -> PreTrainedModel:
        """A transformers model with its weights in memory. `dtype`: "float32", or "auto" for the type they are
        stored in. Layers that the source keeps quantised may be `layers.packed.PackedLinear`."""
        ...
