"""What is left out of a conversation that does not fit."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from edgekit.errors import UsageError
from edgekit.runtime.text.generation import Request
from edgekit.runtime.text.prompts import fit_messages
from edgekit.spec import Sampling, TextSpec


class Words:
    """A tokenizer of words, and a template that says who speaks."""

    def __init__(self) -> None:
        self.rendered = 0

    def special_tokens(self) -> dict[str, int]:
        return {"<end>": 1}

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        self.rendered += 1
        return " ".join(f"{m['role']} {m['content']} <end>" for m in messages)

    def encode(self, text: str) -> list[int]:
        return [hash(word) for word in text.split()]

    encode_plain = encode


def naive(words: Words, limit: int, messages: list[dict[str, str]]) -> list[int]:
    """One turn after the other: what the quick way has to agree with."""
    kept = list(messages)
    while len(ids := words.encode(words.render(kept))) >= limit:
        head = 1 if kept[0]["role"] == "system" else 0
        if len(kept) - head <= 1:
            raise UsageError("too long")
        del kept[head : head + (2 if len(kept) - head > 2 else 1)]
    return ids


def test_the_turns_that_are_kept_are_those_of_dropping_one_after_the_other() -> None:
    random.seed(5)
    limit, fitted = 100, 0
    spec = TextSpec("x", 9, limit, limit, 0, (0,), chat=True)
    for _ in range(400):
        talk = [
            {"role": ("user", "assistant")[i % 2], "content": "cat " * random.randint(0, random.choice((3, 30, 120)))}
            for i in range(random.randint(1, 60))
        ]
        if random.random() < 0.4:
            talk.insert(0, {"role": "system", "content": "be " * random.randint(0, 40)})
        words, request = Words(), Request(Sampling(), overflow="truncate")
        try:
            expected = naive(Words(), limit, talk)
        except UsageError:
            with pytest.raises(UsageError, match="nothing is left out"):
                fit_messages(words, spec, talk, request)
            continue
        assert fit_messages(words, spec, talk, request) == expected
        fitted += 1
    assert fitted > 100
    words = Words()
    talk = [{"role": ("user", "assistant")[i % 2], "content": "cat"} for i in range(2001)]
    fit_messages(words, spec, talk, Request(Sampling(), overflow="truncate"))
    assert words.rendered < 20
