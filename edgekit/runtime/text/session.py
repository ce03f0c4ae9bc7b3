"""The seam between a language model and the engine that runs it: tokens in, logits out, a cache in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from edgekit.runtime.engine import Array
from edgekit.spec import Sampling


class Tokenizer(Protocol):
    """Text and token ids, and the model's chat template."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text, special tokens in it as such, and without a beginning token."""
        ...

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are nothing but characters."""
        ...

    def special_tokens(self) -> Mapping[str, int]:
        """The texts that stand for special tokens, with their ids."""
        ...

    def render(self, messages: Sequence[dict[str, str]], answering: bool = True) -> str:
        """The prompt that the model's chat template makes. Raises UsageError when it refuses."""
        ...

    def close(self) -> None: ...


class TextBatch(Protocol):
    """Texts side by side, all at the same position."""

    def reading(self, row: int) -> bool:
        """Whether the prompt of a row is not read to its end yet."""
        ...

    def logits(self) -> Array:
        """float32 (B, V): for the token after those read, of each text."""
        ...

    def append(self, tokens: Sequence[int]) -> None:
        """One token a row; it counts where the prompt is read to its end. After `logits` was called for the tokens
        before: some engines compute them only then."""
        ...


class GuidedText(Protocol):
    """A text that follows a schema. The engine chooses its tokens: it alone knows which are allowed."""

    @property
    def done(self) -> bool:
        """Whether the text is complete, or the context is full."""
        ...

    @property
    def held(self) -> int:
        """How many tokens the cache holds, those of the prompt included."""
        ...

    def logits(self) -> Array:
        """float32 (V,) for the next token, before those that the schema forbids are left out."""
        ...

    def next(self) -> int:
        """Chooses the next token."""
        ...


class TextSession(Protocol):
    """A language model that an engine opened, and the tokens that its cache holds. Not for concurrent use."""

    threads: int
    simulator: str  # what stands in for the processor: numbers, never time; "" for the real one
    batches: bool  # whether it reads several texts side by side

    @property
    def tokenizer(self) -> Tokenizer:
        """Text to token ids and back, and the chat template."""
        ...

    @property
    def held(self) -> int:
        """How many tokens the cache holds."""
        ...

    def start(self, tokens: Sequence[int]) -> int:
        """Make the cache hold exactly `tokens`, reading only what it lacks; returns how many were read."""
        ...

    def append(self, tokens: Sequence[int]) -> None:
        """Read tokens after those the cache holds."""
        ...

    def logits(self) -> Array:
        """float32 (V,) for the token after those the cache holds."""
        ...

    def batch(self, prompts: Sequence[Sequence[int]]) -> TextBatch:
        """Several texts at once; the cache of `start` is not touched. Raises UsageError unless `batches`."""
        ...

    def guided(self, tokens: Sequence[int], schema: str, sampling: Sampling, seed: int | None = None) -> GuidedText:
        """A text after `tokens` that follows a JSON schema; the cache of `start` is not touched.

        Raises UsageError for a schema that the engine cannot follow, or when it follows none.
        """
        ...

    def reset(self) -> None:
        """Forget the cache, and free its memory."""
        ...

    def close(self) -> None:
        """A second time is harmless."""
        ...
