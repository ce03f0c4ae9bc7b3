"""What is asked of a language model, and what it gives back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from edgekit.errors import UsageError
from edgekit.runtime.text.sampling import Array, check_sampling, log_softmax
from edgekit.runtime.text.tokens import Tokens, checked_text
from edgekit.spec import Sampling, TextSpec
from edgekit.system.documents import JsonObject, parse_json

_TOKENS, _SEED, _ALTERNATIVES = 2**31 - 1, 2**64 - 1, 100
_STOPS, _STOP_LETTERS = 64, 4096
_OVERFLOW = ("error", "truncate", "shift")
Overflow = Literal["error", "truncate", "shift"]


class TokenScore(NamedTuple):
    """A token that was chosen, its log-probability, and the likeliest alternatives."""

    token: int
    text: str
    logprob: float
    alternatives: tuple[tuple[int, str, float], ...]


@dataclass(frozen=True)
class Request:
    """Options of a generation, checked."""

    sampling: Sampling
    max_tokens: int = 256
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    schema: str = ""
    overflow: Overflow = "error"
    allow_special: bool = False

    @property
    def penalises(self) -> bool:
        return self.sampling.repetition_penalty != 1.0


@dataclass(frozen=True)
class Generation:
    """`finish`: stop (the model or a stop string ended it), length, or cancelled. `read`: prompt tokens
    that were not in the cache already. Times in seconds."""

    text: str
    tokens: tuple[int, ...]
    finish: str
    prompt_tokens: int
    read: int
    prompt_s: float
    decode_s: float
    scores: tuple[TokenScore, ...] = ()

    def __str__(self) -> str:
        return self.text

    @property
    def tokens_per_second(self) -> float:
        """Of the answer, from its first token on."""
        return (len(self.tokens) - 1) / self.decode_s if len(self.tokens) > 1 and self.decode_s else 0.0


def parse_request(spec: TextSpec, options: Mapping[str, Any]) -> Request:
    """Raises UsageError for options that are not known or mean nothing."""
    given = {k: v for k, v in options.items() if v is not None}
    named = {f.name: given.pop(f.name) for f in fields(Sampling) if f.name in given}
    own = spec.sampling
    if named.get("temperature") == 0:  # who asks for greedy means the likeliest token, whatever the file adds
        own = Sampling()
    sampling = replace(own, **{k: _number(k, v) for k, v in named.items()})
    check_sampling(sampling)
    stop = given.pop("stop", ())
    given["stop"] = _stops(stop)
    schema = given.pop("schema", "")
    given["schema"] = _compact(schema) if schema else ""
    unknown = given.keys() - {f.name for f in fields(Request)}
    if unknown:
        raise UsageError(f"There is no option {sorted(unknown)[0]}", "", "see help(LanguageModel.generate)")
    for name, highest in (("max_tokens", _TOKENS), ("seed", _SEED), ("logprobs", _ALTERNATIVES)):
        if name in given:
            _check_whole(name, given[name], highest)
    request = Request(sampling=sampling, **given)
    if request.max_tokens < 1:
        raise UsageError(f"max_tokens {request.max_tokens} generates nothing", "", "use 1 or more")
    if request.overflow not in _OVERFLOW:
        raise UsageError(f"There is no overflow {request.overflow}", "", f"use {', '.join(_OVERFLOW)}")
    if request.schema and request.sampling.min_p:
        raise UsageError(
            "min_p and a schema do not go together", "the engine samples where a schema constrains it", "use top_p"
        )
    return request


def _check_whole(name: str, value: object, highest: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
        shown = f"{value!r:.60}" if not isinstance(value, int) or abs(value) < 2**200 else "of many digits"
        raise UsageError(f"{name} {shown} is no whole number from 0 to {highest}", "", "pass one, or leave it out")


def _stops(stop: Any) -> tuple[str, ...]:
    stops = (stop,) if isinstance(stop, str) else tuple(stop) if isinstance(stop, (list, tuple)) else (stop,)
    if not all(isinstance(s, str) for s in stops):
        raise UsageError(f"stop {stop!r:.60} is no text and no list of texts")
    if len(stops) > _STOPS or sum(map(len, stops)) > _STOP_LETTERS:
        raise UsageError(
            f"stop has {len(stops)} texts of {sum(map(len, stops))} characters",
            f"each is looked for after every token: {_STOPS} texts of {_STOP_LETTERS} in all at most",
        )
    return tuple(checked_text(s, "stop") for s in stops)


def _compact(schema: str | JsonObject) -> str:
    """The schema, with no white space between what it asks for unless it says so itself."""
    try:
        document: Any = parse_json(schema) if isinstance(schema, str) else dict(schema)
        document.setdefault("x-guidance", {"whitespace_flexible": False})
        return json.dumps(document)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError("The schema is no JSON object", str(error)) from error


def _number(name: str, value: Any) -> Any:
    try:
        number = int(value) if name == "top_k" else float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{name} {value!r:.60} is no number") from error
    if name == "top_k":
        _check_whole(name, number, _TOKENS)
    return number


def scores(logits: Array, token: int, count: int, tokens: Tokens) -> TokenScore:
    """The log-probability of a token (before temperature), and of the `count` likeliest."""
    values = log_softmax(logits)
    best = np.argsort(-values)[:count]

    def name(i: int) -> str:
        return tokens[i].decode("utf-8", "replace")

    return TokenScore(
        token, name(token), float(values[token]), tuple((int(i), name(int(i)), float(values[i])) for i in best)
    )
