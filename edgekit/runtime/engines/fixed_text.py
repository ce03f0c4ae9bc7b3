"""What engines of fixed sizes have in common: a session that reads one text, and keeps it in its cache.

An engine brings two graphs (fixed_text_decoder.py) and a tokenizer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NoReturn

from edgekit.errors import UsageError
from edgekit.runtime.engine import Array
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.text.session import Tokenizer
from edgekit.spec import Sampling, TextSpec


class FixedTextSession:
    """A model, its `tokenizer`, and the tokens its cache holds. Not for concurrent use."""

    batches = False

    def __init__(
        self, decoder: Decoder, tokenizer: Tokenizer, spec: TextSpec, threads: int, simulator: str = ""
    ) -> None:
        self._decoder, self.tokenizer, self.spec = decoder, tokenizer, spec
        self.threads, self.simulator = threads, simulator
        self._held: list[int] = []

    def start(self, tokens: Sequence[int]) -> int:
        """Make the cache hold exactly `tokens`, reading only what it lacks; returns how many were read."""
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._held, tokens))
        common = min(sum(1 for _ in same), len(tokens) - 1)  # the logits of the last one must be made
        self._held, self._decoder.held = list(tokens[:common]), common
        self.append(tokens[common:])
        return len(tokens) - common

    def append(self, tokens: Sequence[int]) -> None:
        """Read tokens after those the cache holds."""
        self._decoder.read(tokens)
        self._held += tokens

    def logits(self) -> Array:
        """float32 (V,) for the token after those the cache holds."""
        return self._decoder.logits

    @property
    def held(self) -> int:
        return len(self._held)

    def batch(self, prompts: Sequence[Sequence[int]]) -> NoReturn:
        raise UsageError("Several texts side by side are not available in graphs of fixed sizes", "they read one text")

    def guided(self, tokens: Sequence[int], schema: str, sampling: Sampling, seed: int | None = None) -> NoReturn:
        raise UsageError(
            "A schema is not available in graphs of fixed sizes",
            "they read one text, and edgekit chooses its tokens",
            "ask for JSON in the prompt and check it, or use -t cpu",
        )

    def reset(self) -> None:
        """Forget the cache."""
        self._held, self._decoder.held = [], 0

    def close(self) -> None:
        self.tokenizer.close()
        vars(self).pop("_decoder", None)  # a second time is harmless
