"""What ONNX Runtime GenAI generates beside a session's own cache: several texts at once, and a text that follows a
schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgekit.runtime.engine import Array, running

if TYPE_CHECKING:
    from onnxruntime_genai import Generator


class GenaiBatch:
    """Texts side by side, all at the same position: shorter prompts begin their answer while longer
    ones are still read, so nothing is padded."""

    def __init__(self, generator: Generator, prompts: Sequence[Sequence[int]], vocabulary: int) -> None:
        shortest = min(len(p) for p in prompts)
        self._generator = generator
        self._waiting = [list(p[shortest:])[::-1] for p in prompts]
        self._forced = np.empty((len(prompts), 1, vocabulary), np.float32)
        first = np.array([p[:shortest] for p in prompts], np.int32)
        with running():
            generator.append_tokens(first.reshape(-1))

    def reading(self, row: int) -> bool:
        """Whether the prompt of a row is not read to its end yet."""
        return bool(self._waiting[row])

    def logits(self) -> Array:
        """float32 (B, V)."""
        with running():
            rows: Array = self._generator.get_logits()[:, -1]
        return rows

    def append(self, tokens: Sequence[int]) -> None:
        """One token a row: the prompt's next where it is still read, that of `tokens` elsewhere."""
        self._forced.fill(-np.inf)
        for row, token in enumerate(tokens):
            self._forced[row, 0, self._waiting[row].pop() if self._waiting[row] else token] = 0.0
        with running():
            self._generator.set_logits(self._forced)
            self._generator.generate_next_token()


class GenaiGuided:
    """A text that the library itself chooses, masked as a schema demands."""

    def __init__(self, generator: Generator, prompt: Sequence[int]) -> None:
        self._generator = generator
        generator.append_tokens(np.asarray(prompt, np.int32))

    @property
    def done(self) -> bool:
        return bool(self._generator.is_done())

    @property
    def held(self) -> int:
        return int(self._generator.token_count())

    def logits(self) -> Array:
        """float32 (V,) for the next token, before those that the schema forbids are left out."""
        row: Array = self._generator.get_logits()[0, -1]
        return row

    def next(self) -> int:
        self._generator.generate_next_token()
        return int(self._generator.get_next_tokens()[0])
