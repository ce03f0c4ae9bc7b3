"""The OpenAI protocol's requests into what the runtime takes, and its answers back. Standard library only.

Chat and text completions as apps send them; what is not understood is refused, never ignored in silence.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

from edgekit.errors import EdgekitError, UsageError
from edgekit.runtime.generation import Generation

_SAME = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "seed": "seed",
         "repetition_penalty": "repetition_penalty"}  # fmt: skip
_IGNORED = {"model", "messages", "prompt", "stream", "stream_options", "user", "store", "metadata",
            "service_tier", "parallel_tool_calls"}  # fmt: skip
# Not supported, and what apps send that do not use it.
_NOTHING: dict[str, Any] = {"n": 1, "best_of": 1, "frequency_penalty": 0, "presence_penalty": 0, "tools": [],
                            "logit_bias": {}, "echo": False, "suffix": ""}  # fmt: skip
_FINISH = {"stop": "stop", "length": "length", "cancelled": "stop"}


def options(body: dict[str, Any], default_tokens: int) -> dict[str, Any]:
    """What of a request the runtime takes. Raises UsageError for what it cannot do."""
    taken: dict[str, Any] = {to: body[name] for name, to in _SAME.items() if body.get(name) is not None}
    tokens = body.get("max_completion_tokens") or body.get("max_tokens")
    taken["max_tokens"] = int(tokens) if isinstance(tokens, int) and tokens > 0 else default_tokens
    stop = body.get("stop")
    if stop:
        taken["stop"] = stop
    if body.get("logprobs"):
        chat = body["logprobs"] is True
        taken["logprobs"] = int(body.get("top_logprobs") or 0) if chat else int(body["logprobs"])
    taken.update(_format(body.get("response_format")))
    for name, none in _NOTHING.items():
        if body.get(name) not in (None, none):
            raise UsageError(f"{name} is not supported", f"this server takes {name} {none!r} only")
    known = {*_SAME, *_IGNORED, "max_tokens", "max_completion_tokens", "stop", "logprobs", "top_logprobs",
             "response_format", "tool_choice", *_NOTHING}  # fmt: skip
    unknown = sorted(body.keys() - known)
    if unknown:
        raise UsageError(f"{unknown[0]} is not supported")
    return taken


def _format(wanted: Any) -> dict[str, Any]:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind in (None, "text"):
        return {}
    if kind == "json_object":
        return {"schema": {"type": "object"}}
    if kind == "json_schema" and isinstance((wanted.get("json_schema") or {}).get("schema"), dict):
        return {"schema": wanted["json_schema"]["schema"]}
    raise UsageError(
        f"response_format {kind} is not supported", "", "use json_schema, json_object or text"
    )


def messages(body: dict[str, Any]) -> list[dict[str, str]]:
    """Contents in parts become one text. Raises UsageError for pictures and the like."""
    found = body.get("messages")
    if not isinstance(found, list) or not found:
        raise UsageError("messages is missing or empty")
    return [
        {"role": str(m.get("role")), "content": _text(m.get("content"))}
        for m in found
        if isinstance(m, dict)
    ]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    if not all(
        isinstance(p, dict) and p.get("type") == "text" and isinstance(p.get("text"), str)
        for p in parts
    ):
        raise UsageError(
            "A message has content that is no text", "this is a language model without eyes or ears"
        )
    return "".join(p["text"] for p in parts)


class Answer:
    """One answer's identity, in whole or in pieces."""

    def __init__(self, model: str, chat: bool) -> None:
        self.model, self.chat = model, chat
        self.id = f"{'chatcmpl' if chat else 'cmpl'}-{uuid.uuid4().hex[:24]}"
        self.created = int(time.time())

    def whole(self, done: Generation) -> dict[str, Any]:
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": _FINISH[done.finish],
            "logprobs": self._scores(done),
        }
        if self.chat:
            choice["message"] = {"role": "assistant", "content": done.text}
        else:
            choice["text"] = done.text
        return {**self._head("chat.completion" if self.chat else "text_completion"), "choices": [choice],
                "usage": usage(done)}  # fmt: skip

    def piece(self, text: str, first: bool = False, finish: str | None = None) -> str:
        """One event of a stream."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": _FINISH[finish] if finish else None}
        if self.chat:
            choice["delta"] = {
                **({"role": "assistant"} if first else {}),
                **({"content": text} if text else {}),
            }
        else:
            choice["text"] = text
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return event({**self._head(kind), "choices": [choice]})

    def totals(self, done: Generation) -> str:
        return event({**self._head("chat.completion.chunk"), "choices": [], "usage": usage(done)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _scores(self, done: Generation) -> dict[str, Any] | None:
        if not done.scores:
            return None
        if not self.chat:
            return {"tokens": [s.text for s in done.scores], "token_logprobs": [s.logprob for s in done.scores],
                    "top_logprobs": [{a[1]: a[2] for a in s.alternatives} for s in done.scores]}  # fmt: skip
        return {"content": [
            {"token": s.text, "logprob": s.logprob, "bytes": list(s.text.encode()),
             "top_logprobs": [{"token": t, "logprob": p, "bytes": list(t.encode())} for _, t, p in s.alternatives]}
            for s in done.scores
        ]}  # fmt: skip


def usage(done: Generation) -> dict[str, Any]:
    written = len(done.tokens)
    return {"prompt_tokens": done.prompt_tokens, "completion_tokens": written,
            "total_tokens": done.prompt_tokens + written,
            "prompt_tokens_details": {"cached_tokens": done.prompt_tokens - done.read}}  # fmt: skip


def event(data: Any) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)}\n\n"


def failure(error: EdgekitError) -> tuple[int, dict[str, Any]]:
    """HTTP status and body, as the protocol's clients read them."""
    status = 400 if isinstance(error, UsageError) else 500
    text = " ".join(t for t in (error.what + ".", error.why, error.next) if t)
    kind = "invalid_request_error" if status == 400 else "server_error"
    return status, {"error": {"message": text, "type": kind, "param": None, "code": None}}
