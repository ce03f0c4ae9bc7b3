"""What a package must agree with before it is judged: the network's predictions, and the reference tokenizer on
texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import ConversionError
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.engines.genai import GenaiSession
from edgekit.runtime.text.sampling import log_softmax
from edgekit.spec import TextSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


TEXTS = (
    "Hello, world!",
    "  two leading spaces",
    "trailing space ",
    "a\n\nb\tc\r\n",
    "1234567890 3.14e-10",
    "naïve café — ‘quotes’ “double”",
    "日本語のテキスト、中文文本",
    "Привет, мир",
    "مرحبا بالعالم",
    "हिन्दी पाठ",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪",
    "def f(x):\n    return x ** 2  # code",
    "https://example.org/a?b=c&d=%20",
    "ALL CAPS and MiXeD",
    "I'm, you're, they'll; don't",
    "x" * 200,
    "\u00a0\u200b\ufeff",
    "e\u0301 vs \u00e9",
    "a  b   c    d",
    "∑∫√ ≤ ≥ ≠",
)
_RANDOM = 300
_TOKENS = 32
_FARTHEST = 1e-3  # nats, of float weights; what float32 and storing 16 bits cost is far below


class Probe:
    """The predictions of a float network on a few tokens, for its package to repeat."""

    def __init__(self, network: PreTrainedModel, spec: TextSpec) -> None:
        import torch

        self._spec = spec
        count = min(_TOKENS, spec.context_length)
        self._ids = np.random.default_rng(0).integers(0, spec.vocab_size, count).tolist()
        with torch.no_grad():
            logits = network(torch.tensor([self._ids]), use_cache=False).logits[0]
        self._expected = log_softmax(logits[count // 2 - 1 :, : spec.vocab_size].float().numpy())

    def check(self, package: Path) -> None:
        """Half of the tokens read at once, then one after another. Raises ConversionError for a package
        that computes something else."""
        session = GenaiSession(package, self._spec, EngineOptions())
        half = len(self._ids) // 2
        session.start(self._ids[:half])
        farthest = 0.0
        for expected, token in zip(self._expected, [*self._ids[half:], 0]):
            actual = log_softmax(session.logits()[: len(expected)])
            farthest = max(farthest, float((np.exp(expected) * (expected - actual)).sum()))
            if session.held < len(self._ids):
                session.append([token])
        session.close()
        if not farthest <= _FARTHEST:
            raise ConversionError(
                "The package does not compute what the model does",
                f"its predictions differ by {farthest:.2g} nats on random tokens: this model has something that "
                "onnxruntime-genai's builder leaves out",
                "pass another model of this family, and report this one with its config.json",
            )


def disagreements(
    encode: Callable[[str], list[int]], reference: PreTrainedTokenizerFast, texts: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """The number of texts compared, and the texts for which `encode` gives other ids than the reference.

    Besides a fixed list, texts that random tokens make: what no prose would show.
    """
    backend = reference.backend_tokenizer
    random, count = np.random.default_rng(0), backend.get_vocab_size()
    drawn = (backend.decode([int(i) for i in random.integers(0, count, 24)]) for _ in range(_RANDOM))
    samples = [*TEXTS, *drawn, *(p for t in texts for p in _paragraphs(t))]
    return len(samples), [t for t in samples if encode(t) != backend.encode(t, add_special_tokens=False).ids]


def _paragraphs(text: str) -> list[str]:
    return [p for p in text[:20000].split("\n\n") if p.strip()][:40]
