"""Texts on which a tokenizer on the device must agree with its reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

TEXTS = (
    "Hello, world!", "  two leading spaces", "trailing space ", "a\n\nb\tc\r\n", "1234567890 3.14e-10",
    "naïve café — ‘quotes’ “double”", "日本語のテキスト、中文文本", "Привет, мир", "مرحبا بالعالم", "हिन्दी पाठ",
    "👍🏽 👩‍👩‍👧‍👦 🇩🇪", "def f(x):\n    return x ** 2  # code", "https://example.org/a?b=c&d=%20", "ALL CAPS and MiXeD",
    "I'm, you're, they'll; don't", "x" * 200, "\u00a0\u200b\ufeff", "e\u0301 vs \u00e9", "a  b   c    d", "∑∫√ ≤ ≥ ≠",
)  # fmt: skip
_RANDOM = 300


def disagreements(
    encode: Callable[[str], list[int]], reference: Any, texts: Sequence[str] = ()
) -> tuple[int, list[str]]:
    """How many texts were tried, and those for which `encode` gives other ids than the reference.

    Besides a fixed list, texts that random tokens make: what no prose would show.
    """
    backend = reference.backend_tokenizer
    random, count = np.random.default_rng(0), backend.get_vocab_size()
    drawn = (backend.decode([int(i) for i in random.integers(0, count, 24)]) for _ in range(_RANDOM))
    tried = [*TEXTS, *drawn, *(p for t in texts for p in _paragraphs(t))]
    return len(tried), [
        t for t in tried if encode(t) != backend.encode(t, add_special_tokens=False).ids
    ]


def _paragraphs(text: str) -> list[str]:
    return [p for p in text[:20000].split("\n\n") if p.strip()][:40]
