"""What the model reads and what it says when it finds nothing: training and application share it."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNKNOWN = "The documents do not say."
_END = re.compile(r"\.(?=\s|$)")


def prompt(passages: Sequence[str], question: str) -> str:
    """The first user turn: numbered sources, an empty line, the question.

    Each sentence ends with the number of its source: a small model copies what follows the fact it
    found, but hardly ever learns to look back to the start of the passage for a number.
    """
    lines = [_END.sub(f" [{i}].", f"[{i}] {text}") for i, text in enumerate(passages, 1)]
    return "\n".join(lines) + f"\n\n{question}"
