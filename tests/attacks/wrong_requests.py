"""Requests that a server refuses, each with the field that its error names."""

from __future__ import annotations

from typing import Any

from tests.serving import USER


def schema(**wanted: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": wanted}}}


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "string"}
    for _ in range(depth):
        found = {"type": "array", "items": found}
    return found


SCHEMA = "response_format.json_schema.schema"
CHAT: list[tuple[str, dict[str, Any]]] = [
    *[("max_tokens", {"max_tokens": v}) for v in (0, -5, "8", 1.5, 8.0, True, 2**70, [])],
    ("max_completion_tokens", {"max_completion_tokens": 0}),
    *[("stream", {"stream": v}) for v in ("false", "true", 1, [])],
    *[("seed", {"seed": v}) for v in (-1, 1.5, "a", True, 2**64, 10**4000)],
    *[("logprobs", {"logprobs": v}) for v in ("x", 1, [])],
    *[("top_logprobs", {"logprobs": True, "top_logprobs": v}) for v in ("x", -1, 21, True)],
    ("top_logprobs", {"top_logprobs": 2}),
    *[("stream_options", {"stream": True, "stream_options": v}) for v in (5, ["x"], "x")],
    ("stream_options.include_usage", {"stream_options": {"include_usage": "yes"}}),
    ("stream_options.more", {"stream_options": {"more": 1}}),
    *[("temperature", {"temperature": v}) for v in ("hot", -1, 101, True)],
    *[("top_p", {"top_p": v}) for v in (0, 1.1, "1")],
    *[("top_k", {"top_k": v}) for v in (-1, 0.5, 2**31)],
    *[("min_p", {"min_p": v}) for v in (1, -0.1)],
    ("min_p", {"min_p": 0.1, "response_format": {"type": "json_object"}}),
    *[("repetition_penalty", {"repetition_penalty": v}) for v in (0, -1, 1000)],
    *[("stop", {"stop": v}) for v in (5, "", {"a": 1}, "x" * 257, [str(i) for i in range(100_000)])],
    ("stop[0]", {"stop": [None]}),
    ("stop[1]", {"stop": ["x", ""]}),
    *[
        (name, {name: value})
        for name, value in (
            ("n", 2),
            ("frequency_penalty", 0.5),
            ("presence_penalty", 1),
            ("logit_bias", {"1": -100}),
            ("tools", [{"type": "function"}]),
            ("tool_choice", "required"),
            ("reasoning_effort", "low"),
            ("functions", []),
            ("user", 5),
            ("model", 5),
            ("prompt", "x"),
        )
    ],
    *[("response_format", {"response_format": v}) for v in ("json", 5, [])],
    ("response_format.type", {"response_format": {"type": "banana"}}),
    ("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
    ("response_format.json_schema", {"response_format": {"type": "json_schema", "json_schema": [1]}}),
    ("response_format", schema(type="banana")),  # what only the engine knows
    *[(SCHEMA, schema(**{name: 10**9})) for name in ("minItems", "maxItems", "minLength", "minProperties")],
    (SCHEMA, schema(type="object", properties={"a": {"type": "array", "minItems": 1e12}})),
    *[(SCHEMA, schema(type="string", pattern=p)) for p in ("a{1000000000}", "((a{99}){99}){99}", "a" * 2000)],
    (SCHEMA, schema(type="object", patternProperties={"a{1000000}": {}})),
    (SCHEMA, schema(**nested(40))),
    (SCHEMA, schema(enum=list(range(9000)))),
    (SCHEMA, schema(const="x" * 70_000)),
    *[("messages", {"messages": v}) for v in ([], None, "x", {}, [USER] * 10_001)],
    ("messages[1]", {"messages": [USER, "hello"]}),
    ("messages[0].role", {"messages": [{"content": "x"}]}),
    ("messages[0].role", {"messages": [{"role": "banana", "content": "x"}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": None}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": 5}]}),
    (
        "messages[0].content[0].type",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
    ),
    ("messages[0].weight", {"messages": [{**USER, "weight": 1}]}),
    (
        "messages[1].tool_calls",
        {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}]},
    ),
    ("messages[0].content", {"messages": [{"role": "user", "content": "hi \ud83d"}]}),
    ("messages[0].content", {"messages": [{"role": "user", "content": "hi \ude00\ud83d"}], "stream": True}),
    ("messages[0].role", {"messages": [{"role": "us\ud83d", "content": "x"}]}),
    ("stop", {"stop": "\ud83d"}),
    ("user", {"user": "\udc00"}),
    (SCHEMA, schema(const="\ud83d")),
    ("messages", {"messages": [{"role": "user", "content": "cat " * 1_000}]}),
    ("messages", {"messages": [{"role": "user", "content": "cat " * 1_000_000}]}),
]
COMPLETION: list[tuple[str, dict[str, Any]]] = [
    *[("prompt", {"prompt": v}) for v in ("", None, 5, ["x", "y"], [], "cat " * 1_000, "cat " * 1_000_000, "a \udc00")],
    ("prompt[0]", {"prompt": [1, 2]}),
    *[("logprobs", {"logprobs": v}) for v in (True, "1", 21, -1)],
    ("echo", {"echo": True}),
    ("best_of", {"best_of": 2}),
    ("suffix", {"suffix": "x"}),
    ("messages", {"messages": [USER]}),
]
