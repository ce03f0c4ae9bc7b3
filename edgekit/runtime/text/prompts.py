"""From text and messages to the tokens of a prompt, and what to do when they are too many."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Collection, Sequence

from edgekit.errors import UsageError
from edgekit.runtime.text.generation import Request
from edgekit.runtime.text.session import Tokenizer
from edgekit.spec import TextSpec

Message = dict[str, str]

# Characters for each token of a context, above which a text is not counted to know that it does not fit:
# counting takes memory by the gigabyte. Prose has four or five.
_MOST = 64


def check_size(text: str, spec: TextSpec) -> None:
    """Raises UsageError for a text that is far too long to be worth counting."""
    if len(text) > _MOST * spec.context_length:
        raise _too_long(f"{len(text)} characters", spec)


def message_tokens(tokenizer: Tokenizer, text: str, allow_special: bool) -> list[int]:
    """The ids of a text; special tokens in it are plain characters unless allowed."""
    ids: list[int] = tokenizer.encode(text) if allow_special else tokenizer.encode_plain(text)
    return ids


def fit_tokens(bos: list[int], encoded: list[int], spec: TextSpec, request: Request) -> list[int]:
    """The prompt, with room for at least one token more. Raises UsageError when it is too long and
    nothing may be left out."""
    room = spec.context_length - len(bos) - 1
    if len(encoded) <= room:
        return bos + encoded
    if request.overflow == "error":
        raise _too_long(f"{len(bos) + len(encoded)} tokens", spec)
    answer = min(request.max_tokens, max(room // 4, 1))  # what is cut must leave room to answer in
    return bos + encoded[-max(room - answer, 1) :]


def fit_messages(tokenizer: Tokenizer, spec: TextSpec, messages: Sequence[Message], request: Request) -> list[int]:
    """The tokens of a conversation. With `truncate` and `shift` the oldest turns go, the system
    message and the last turn stay."""
    marks = tokenizer.special_tokens()
    every = [_checked(m, () if request.allow_special else marks) for m in messages]
    if not every:
        raise UsageError("There are no messages", "", 'pass [{"role": "user", "content": "…"}]')
    head = every[:1] if every[0]["role"] == "system" else []
    turns = every[len(head) :]

    def last(count: int) -> list[int] | UsageError:
        conversation = head + turns[len(turns) - count :]
        characters = sum(len(m["content"]) for m in conversation)
        if characters > _MOST * spec.context_length:
            return _too_long(f"{characters} characters", spec)
        ids = chat_tokens(tokenizer, conversation, request.allow_special)
        return ids if len(ids) < spec.context_length else _too_long(f"{len(ids)} tokens", spec)

    whole = last(len(turns))
    if not isinstance(whole, UsageError):
        return whole
    if request.overflow == "error" or len(turns) < 2:
        raise whole
    # A question goes with its answer; at last a question alone may be left.
    tokens = _longest(last, range(len(turns) % 2 or 2, len(turns), 2)) or last(1)
    if isinstance(tokens, UsageError):
        raise tokens
    return tokens


def _longest(last: Callable[[int], list[int] | UsageError], counts: Sequence[int]) -> list[int] | None:
    """The tokens for the largest of the growing `counts` that fits; None when none does.

    From the small end in steps that double, then by halves: to find the few turns that fit, those of a
    conversation of thousands are not read again and again.
    """
    tokens, low, high = None, -1, len(counts)
    while low + 1 < high:
        probe = min(2 * low + 2, (low + high) // 2)
        ids = last(counts[probe])
        if isinstance(ids, UsageError):
            high = probe
        else:
            tokens, low = ids, probe
    return tokens


def chat_tokens(tokenizer: Tokenizer, messages: Sequence[Message], allow_special: bool) -> list[int]:
    """The template's own special tokens count as such, those inside contents do not."""
    marks = tokenizer.special_tokens()
    if allow_special or not any(mark in m["content"] for m in messages for mark in marks):
        ids: list[int] = tokenizer.encode(tokenizer.render(messages))
        return ids
    secret = f"edgekit{secrets.token_hex(8)}"
    stood_in = [{**m, "content": f"{secret}n{i}e"} for i, m in enumerate(messages)]
    tokens: list[int] = []  # a template may leave contents out, or use them twice
    for i, part in enumerate(re.split(f"{secret}n([0-9]+)e", tokenizer.render(stood_in))):
        tokens += tokenizer.encode_plain(messages[int(part)]["content"]) if i % 2 else tokenizer.encode(part)
    return tokens


def _checked(message: object, marks: Collection[str]) -> Message:
    if not isinstance(message, dict) or not all(isinstance(message.get(k), str) for k in ("role", "content")):
        raise UsageError("A message has a role and a content, both text", "", 'as {"role": "user", "content": "…"}')
    if any(mark in message["role"] for mark in marks):
        raise UsageError(f"{message['role'][:40]!r} is no role", "it holds a special token", "use user or assistant")
    return {"role": message["role"], "content": message["content"]}


def _too_long(size: str, spec: TextSpec) -> UsageError:
    return UsageError(
        f"The prompt is {size}, and this package keeps {spec.context_length} tokens",
        "nothing is left out unless you say so",
        "shorten it, leave out its oldest part (--overflow truncate, in Python overflow='truncate'), or convert "
        "with a larger --context"
        + (f" (up to {spec.trained_context})" if spec.trained_context > spec.context_length else ""),
    )
