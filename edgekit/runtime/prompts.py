"""From text and messages to the tokens of a prompt, and what to do when they are too many."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from typing import Any

from edgekit.errors import UsageError
from edgekit.runtime.generation import Request
from edgekit.spec import TextSpec

Message = dict[str, str]


def message_tokens(tokenizer: Any, text: str, allow_special: bool) -> list[int]:
    """The ids of a text; special tokens in it are plain characters unless allowed."""
    ids: list[int] = tokenizer.encode(text) if allow_special else tokenizer.encode_plain(text)
    return ids


def fit_tokens(bos: list[int], encoded: list[int], spec: TextSpec, asked: Request) -> list[int]:
    """The prompt, with room for at least one token more. Raises UsageError when it is too long and
    nothing may be left out."""
    room = spec.context_length - len(bos) - 1
    if len(encoded) <= room:
        return bos + encoded
    if asked.overflow == "error":
        raise _too_long(len(bos) + len(encoded), spec)
    answer = min(asked.max_tokens, max(room // 4, 1))  # what is cut must leave room to answer in
    return bos + encoded[-max(room - answer, 1) :]


def fit_messages(
    tokenizer: Any, spec: TextSpec, messages: Sequence[Message], asked: Request
) -> list[int]:
    """The tokens of a conversation. With `truncate` and `shift` the oldest turns go, the system
    message and the last turn stay."""
    marks = tokenizer.special_tokens()
    kept = [_checked(m, () if asked.allow_special else marks) for m in messages]
    if not kept:
        raise UsageError("There are no messages", "", 'pass [{"role": "user", "content": "…"}]')
    while True:
        ids = chat_tokens(tokenizer, kept, asked.allow_special)
        if len(ids) < spec.context_length:
            return ids
        head = 1 if kept[0]["role"] == "system" else 0
        if asked.overflow == "error" or len(kept) - head <= 1:
            raise _too_long(len(ids), spec)
        del kept[head : head + (2 if len(kept) - head > 2 else 1)]  # a question goes with its answer


def chat_tokens(tokenizer: Any, messages: Sequence[Message], allow_special: bool) -> list[int]:
    """The template's own special tokens count as such, those inside contents do not."""
    marks = tokenizer.special_tokens()
    if allow_special or not any(mark in m["content"] for m in messages for mark in marks):
        ids: list[int] = tokenizer.encode(tokenizer.render(messages))
        return ids
    words = {f"edgekit{secrets.token_hex(8)}": m["content"] for m in messages}
    stood_in = [{**m, "content": word} for m, word in zip(messages, words)]
    found: list[int] = []  # a template may leave contents out, or use them twice
    for part in re.split(f"({'|'.join(words)})", tokenizer.render(stood_in)):
        found += tokenizer.encode_plain(words[part]) if part in words else tokenizer.encode(part)
    return found


def _checked(message: Any, marks: Collection[str]) -> Message:
    if not isinstance(message, dict) or not all(
        isinstance(message.get(k), str) for k in ("role", "content")
    ):
        raise UsageError(
            "A message has a role and a content, both text", "", 'as {"role": "user", "content": "…"}'
        )
    if any(mark in message["role"] for mark in marks):
        raise UsageError(
            f"{message['role'][:40]!r} is no role", "it holds a special token", "use user or assistant"
        )
    return {"role": message["role"], "content": message["content"]}


def _too_long(count: int, spec: TextSpec) -> UsageError:
    return UsageError(
        f"The prompt is {count} tokens, and this package keeps {spec.context_length}",
        "nothing is left out unless you say so",
        'shorten it, pass overflow="truncate", or convert with a larger --context'
        + (f" (up to {spec.trained_context})" if spec.trained_context > spec.context_length else ""),
    )
