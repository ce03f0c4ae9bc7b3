"""edgekit generate, chat, serve, and what convert, inspect, profile and detect say of language models."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import IMAGE, Edgekit, measured, receipt

Texts = dict[str, Path]


def test_generate_shows_text_on_stdout_and_speed_on_stderr(edgekit: Edgekit, text_packages: Texts) -> None:
    ran = edgekit("generate", text_packages["fp32"], "-p", "the cat", "-n", 5)
    assert ran.code == 0 and ran.out.strip()
    assert "tokens/s" in ran.err
    as_json = edgekit("generate", text_packages["fp32"], "-p", "the cat", "-n", 5, "--json", "--logprobs", 1).json
    result = as_json["results"][0]
    assert len(ran.out.rstrip("\n")) == len(result["text"].rstrip("\n"))  # marks stand for what is not shown
    assert len(result["tokens"]) == 5 == len(result["scores"])


def test_generate_reads_files_and_stdin(
    edgekit: Edgekit, text_packages: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "p.txt").write_text("the cat", encoding="utf-8")
    expected = edgekit("generate", text_packages["fp32"], "-p", "the cat", "-n", 5).out
    assert edgekit("generate", text_packages["fp32"], "-f", tmp_path / "p.txt", "-n", 5).out == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat"), encoding="utf-8"))
    assert edgekit("generate", text_packages["fp32"], "-f", "-", "-n", 5).out == expected


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),
        (("-p", ""), 2),
        (("-p", "x", "--temperature", -1), 2),
        (("-p", "x", "--top-p", 2), 2),
        (("-p", "cat " * 300), 2),
        (("-f", "/no/such/file"), 2),
        (("-p", "x", "-p", "y", "--chat"), 2),
    ],
)
def test_generate_refuses_what_means_nothing(
    edgekit: Edgekit, text_packages: Texts, words: tuple[object, ...], code: int
) -> None:
    ran = edgekit("generate", text_packages["fp32"], *words)
    assert (ran.code == code and ran.err.startswith("error: ")) or "Usage" in ran.err


def test_chat_keeps_saves_and_forgets_a_conversation(
    edgekit: Edgekit, text_packages: Texts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = tmp_path / "talk.json"
    lines = ["Hello", "And then?", f"/save {saved}", "/undo", "/help", "/reset", "New", "/quit", "never"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    ran = edgekit("chat", text_packages["fp32"], "-n", 4, "--system", "Be brief.", "--json")
    assert ran.code == 0, ran.err
    talk = json.loads(saved.read_text(encoding="utf-8"))
    assert [m["role"] for m in talk] == ["system", "user", "assistant", "user", "assistant"]
    assert [m["content"] for m in ran.json["messages"] if m["role"] != "assistant"] == ["Be brief.", "New"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("More"))
    again = edgekit("chat", text_packages["fp32"], "-n", 4, "--load", saved, "--json").json["messages"]
    assert again[:5] == talk and len(again) == 7
    saved.write_text("[1]", encoding="utf-8")
    assert edgekit("chat", text_packages["fp32"], "--load", saved).code == 2


def test_each_verb_says_when_a_package_is_of_the_other_kind(
    edgekit: Edgekit, text_packages: Texts, packages: Texts
) -> None:
    for ran in (
        edgekit("generate", packages["fp32"], "-p", "x"),
        edgekit("chat", packages["fp32"]),
        edgekit("serve", packages["fp32"]),
        edgekit("detect", text_packages["fp32"], IMAGE),
    ):
        assert ran.code == 2 and "task is" in ran.err


def test_inspect_and_profile_speak_of_tokens(edgekit: Edgekit, text_packages: Texts, tmp_path: Path) -> None:
    ran = edgekit("inspect", text_packages["w4"])
    assert "KV cache" in ran.out and "KL divergence" in ran.out and "tokenizer equal" in ran.out
    ran = edgekit(
        "profile",
        text_packages["w4"],
        "--launches",
        1,
        "--iterations",
        5,
        "--no-record",
        "--store",
        tmp_path / "p.sqlite",
    )
    assert ran.code == 0 and "tokens/s" in ran.out and "prompt" in ran.out
    assert max(len(line) for line in ran.out.splitlines() if "sqlite" not in line) <= 80


def test_the_receipt_holds_what_was_measured(text_packages: Texts) -> None:
    for name in ("fp32", "w4", "ternary"):
        found = receipt(text_packages[name])
        assert {"KL divergence", "KL divergence 99 %", "same top token", "perplexity"} <= measured(
            found, "accuracy"
        ).keys()
        assert {"tokenizer equal", "chat template equal"} <= measured(found, "text").keys()
        assert measured(found, "text")["tokenizer equal"]["value"] == 1
        assert measured(found, "memory")["KV cache"]["provenance"] == "estimated"


@pytest.fixture(scope="module")
def url(text_packages: Texts) -> Iterator[str]:
    """A server of its own process, asked for a key."""
    pytest.importorskip("uvicorn")
    command = [sys.executable, "-m", "edgekit.cli.main", "serve", str(text_packages["fp32"]), "--port", "0", "--json"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "EDGEKIT_API_KEY": "secret"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=environment, encoding="utf-8", errors="replace"
    )
    assert process.stdout is not None
    said = ""
    while "}" not in said:
        line = process.stdout.readline()
        assert line, "the server ended"
        said += line
    yield json.loads(said)["url"]
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 130, -signal.SIGINT)


def test_an_app_that_speaks_the_protocol_gets_answers(url: str, edgekit: Edgekit, text_packages: Texts) -> None:
    """With the client people use."""
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=url, api_key="secret", max_retries=0)
    assert client.models.list().data[0].id == text_packages["fp32"].name
    done = client.completions.create(model="m", prompt="the cat", max_tokens=8, temperature=0, logprobs=2)
    own = edgekit("generate", text_packages["fp32"], "-p", "the cat", "-n", 8, "--json").json["results"][0]
    assert done.choices[0].text == own["text"] and done.usage.completion_tokens == 8
    assert done.choices[0].logprobs.token_logprobs[0] <= 0
    talk = [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
    whole = client.chat.completions.create(model="m", messages=talk, max_tokens=8, seed=1, temperature=0.9)
    stream = client.chat.completions.create(
        model="m",
        messages=talk,
        max_tokens=8,
        seed=1,
        temperature=0.9,
        stream=True,
        stream_options={"include_usage": True},
    )
    events = list(stream)
    text = "".join(e.choices[0].delta.content or "" for e in events if e.choices)
    assert text == whole.choices[0].message.content
    assert events[-1].usage.completion_tokens == whole.usage.completion_tokens
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    told = client.chat.completions.create(model="m", messages=talk, response_format=wanted, max_tokens=40)
    assert json.loads(told.choices[0].message.content) == {"a": 1}
    for wrong in (
        {"n": 2},
        {"frequency_penalty": 1.0},
        {"tools": [{"type": "function"}]},
        {"temperature": -1},
        {"logit_bias": {"5": 10}},
    ):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="m", messages=talk, max_tokens=4, **wrong)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()


def test_a_client_that_leaves_frees_the_model(url: str) -> None:
    httpx = pytest.importorskip("httpx")
    key = {"authorization": "Bearer secret"}
    for _ in range(2):
        body = {"prompt": "the cat", "max_tokens": 100, "stream": True}
        with httpx.stream("POST", f"{url}/completions", json=body, headers=key, timeout=20) as answer:
            next(answer.iter_lines())
    body = {"prompt": "the cat", "max_tokens": 2}
    assert httpx.post(f"{url}/completions", json=body, headers=key, timeout=20).status_code == 200


def test_pages_elsewhere_and_broken_requests_are_refused(url: str) -> None:
    httpx = pytest.importorskip("httpx")
    key = {"authorization": "Bearer secret"}
    assert httpx.get(f"{url}/models", headers={**key, "host": "evil.example"}).status_code == 400
    for content in (b"{", b"[]", b"[" * 100000, b'{"prompt": 5}', b'{"prompt": "x", "max_tokens": 4, "stop": 5}'):
        headers = {**key, "content-type": "application/json"}
        answer = httpx.post(f"{url}/completions", content=content, headers=headers, timeout=20)
        assert answer.status_code == 400 and answer.json()["error"]["message"], content[:20]
