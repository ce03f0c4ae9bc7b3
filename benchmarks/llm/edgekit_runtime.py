"""edgekit's runtime as an application uses it, sampling and text included."""

from __future__ import annotations

from typing import Any

from child import Engine

from edgekit.runtime import load_text


class Runtime(Engine):
    def __init__(self, model: str, threads: int) -> None:
        self._llm = load_text(model, threads)

    def read(self, tokens: list[int]) -> Any:
        self._llm.reset()
        self._llm.session.start(tokens)
        return self._llm.session.logits()

    def step(self, token: int) -> Any:
        self._llm.session.append([token])
        return self._llm.session.logits()

    def timed(self, tokens: list[int], count: int) -> tuple[float, float]:
        self._llm.reset()
        done = self._llm.generate(self._text(len(tokens)), max_tokens=count + 1, temperature=0)
        read = done.prompt_s / done.prompt_tokens * len(tokens)
        return read, done.decode_s / max(len(done.tokens) - 1, 1)  # a trained model may end at once

    def _text(self, count: int) -> str:
        """About `count` tokens."""
        words, text = "once upon a time there was a red fox ", ""
        while self._llm.count(text + words) < count:
            text += words
        return text or "fox"


def open_engine(model: str, options: dict[str, Any]) -> Engine:
    return Runtime(model, options["threads"])
