"""The network of a language model that was read before, with its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit import registry
from edgekit.errors import SourceError, guard
from edgekit.model import CheckpointModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def network_of(model: CheckpointModel, dtype: str) -> PreTrainedModel:
    """See `TextSource.network`. Raises SourceError for weights that cannot be loaded, whatever the library that
    loads them raises."""
    source = registry.load("sources", model.source.kind)
    with guard(SourceError, f"{model.source.name} cannot be loaded", "download or copy it again"):
        return source.network(model, dtype)
