"""The OpenAI protocol's answers and errors. Standard library only."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass

from edgekit.errors import EdgekitError, UsageError
from edgekit.system.documents import JsonObject

_FINISH = {"stop": "stop", "length": "length", "cancelled": "stop"}


class RequestError(UsageError):
    """A request that gets no answer. `param`: the field that is wrong; `wait`: seconds to try again after."""

    def __init__(
        self,
        what: str,
        why: str = "",
        next: str = "",
        *,
        param: str | None = None,
        status: int = 400,
        code: str | None = None,
        wait: int | None = None,
    ) -> None:
        super().__init__(what, why, next)
        self.param, self.status, self.code, self.wait = param, status, code, wait


@dataclass(frozen=True)
class Done:
    """What is known of an answer when it ended. `scores`: for each token its text, its log-probability,
    and the likeliest alternatives as (token, text, log-probability)."""

    finish: str
    tokens: int
    prompt_tokens: int
    read: int
    scores: list[tuple[str, float, list[tuple[int, str, float]]]]


class Answer:
    """One answer's identity, in whole or in pieces."""

    def __init__(self, model: str, chat: bool) -> None:
        self.model, self.chat = model, chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}"
        self.created = int(time.time())
        self._piece = "chat.completion.chunk" if chat else "text_completion"

    def whole(self, text: str, done: Done) -> JsonObject:
        choice = {"index": 0, "finish_reason": _FINISH[done.finish], "logprobs": self._scores(done)}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": usage(done)}

    def piece(self, text: str, first: bool = False) -> str:
        """One event of a stream."""
        if self.chat:
            role = {"role": "assistant"} if first else {}
            return self._event({"delta": {**role, **({"content": text} if text else {})}})
        return self._event({"text": text})

    def end(self, done: Done) -> str:
        """The event that says why a stream ends; the scores of all its tokens come with it."""
        scores = self._scores(done)
        choice: JsonObject = {"delta": {}} if self.chat else {"text": ""}
        return self._event({**choice, **({"logprobs": scores} if scores else {})}, _FINISH[done.finish])

    def totals(self, done: Done) -> str:
        return event({**self._head(self._piece), "choices": [], "usage": usage(done)})

    def _event(self, choice: JsonObject, finish: str | None = None) -> str:
        choices = [{"index": 0, "finish_reason": finish, **choice}]
        return event({**self._head(self._piece), "choices": choices})

    def _head(self, kind: str) -> JsonObject:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _scores(self, done: Done) -> JsonObject | None:
        if not done.scores:
            return None
        if not self.chat:
            return {
                "tokens": [text for text, _, _ in done.scores],
                "token_logprobs": [p for _, p, _ in done.scores],
                "top_logprobs": [{text: p for _, text, p in others} for _, _, others in done.scores],
            }
        return {
            "content": [
                {**_score(text, p), "top_logprobs": [_score(t, q) for _, t, q in others]}
                for text, p, others in done.scores
            ]
        }


def _score(text: str, logprob: float) -> JsonObject:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def usage(done: Done) -> JsonObject:
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.tokens,
        "total_tokens": done.prompt_tokens + done.tokens,
        "prompt_tokens_details": {"cached_tokens": done.prompt_tokens - done.read},
    }


def event(data: object) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"


def failure(error: EdgekitError) -> tuple[int, JsonObject, dict[str, str]]:
    """HTTP status, body and headers, as the protocol's clients read them."""
    param = code = None
    status, headers = 400 if isinstance(error, UsageError) else 500, {}
    if isinstance(error, RequestError):
        status, param, code = error.status, error.param, error.code
        if error.wait is not None:
            headers["retry-after"] = str(error.wait)
    # What was refused may be quoted, and half of a surrogate pair in it is no UTF-8.
    text = " ".join(t for t in (error.what + ".", error.why, error.next) if t)
    text = text.encode("utf-8", "replace").decode("utf-8")
    param = param and param.encode("utf-8", "replace").decode("utf-8")
    kind = "invalid_request_error" if status < 500 else "server_error"
    if status == 429:
        kind = "rate_limit_error"
    return status, {"error": {"message": text, "type": kind, "param": param, "code": code}}, headers
