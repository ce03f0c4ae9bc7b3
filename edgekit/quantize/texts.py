"""Text to decide on: what the user gives, or what the model writes itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.data.texts import read_texts, windows_of
from edgekit.model import CheckpointModel
from edgekit.progress import Progress
from edgekit.spec import TextSpec

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


_WRITTEN = 16  # texts, side by side
_WORK = 4e11  # parameters times tokens: a model of 100 million parameters writes 4096
_LEAST, _MOST = 64, 256  # tokens of each


def calibration_windows(model: CheckpointModel, path: Path, length: int, count: int) -> list[list[int]]:
    """At most `count` windows of `length` token ids. Raises DataError for text that is too short."""
    from edgekit.sources.tokenizer import read_tokenizer

    backend = read_tokenizer(model.folder).backend_tokenizer
    return windows_of(read_texts(path), lambda t: backend.encode(t).ids, length, count, path.name)


def own_text(network: PreTrainedModel, spec: TextSpec, length: int, progress: Progress) -> Tensor:
    """int64 (W, T): drawn from the model at temperature 1, from its beginning token."""
    import torch

    parameters = sum(p.numel() for p in network.parameters())
    steps = min(length, max(_LEAST, min(_MOST, int(_WORK / parameters / _WRITTEN))))
    start = spec.bos if spec.bos is not None else (spec.stop[0] if spec.stop else 0)
    ids = torch.full((_WRITTEN, 1), start)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        past, step = None, ids
        for done in range(steps - 1):
            out = network(step, past_key_values=past, use_cache=True)
            past = out.past_key_values
            step = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1, generator=generator)
            ids = torch.cat([ids, step], 1)
            progress("letting the model write text", done + 2, steps)
    return ids
