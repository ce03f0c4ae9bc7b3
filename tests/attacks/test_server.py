"""Requests to `edgekit serve` that are wrong, too large or mean harm: an answer with the field's name, and a
server that goes on."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.wrong_requests import CHAT, COMPLETION, schema
from tests.conftest import Ran
from tests.serving import USER, children, started

pytest.importorskip("uvicorn")
pytest.importorskip("msgspec")
httpx = pytest.importorskip("httpx")

PAGE = "https://app.example"
KEY = "s3cret"


@pytest.fixture(scope="module")
def server(text_packages: dict[str, Path]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process, url = started(text_packages["fp32"], "--cors-origin", PAGE, "--queue", 3, EDGEKIT_API_KEY=KEY)
    yield process, url
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 130, -signal.SIGINT)


@pytest.fixture(scope="module")
def client(server: tuple[subprocess.Popen[str], str]) -> Iterator[Any]:
    with httpx.Client(base_url=server[1], headers={"authorization": f"Bearer {KEY}"}, timeout=60) as found:
        yield found


@pytest.fixture(autouse=True)
def healthy(request: pytest.FixtureRequest) -> Iterator[None]:
    """While a test uses the server, it says that it is well all the time, long before any work is done."""
    if "client" not in request.fixturenames:
        yield
        return
    host = request.getfixturevalue("server")[1].split("/")[2]
    over, waits = threading.Event(), []

    def ask() -> None:
        connection = http.client.HTTPConnection(host, timeout=60)
        while not over.wait(0.02):
            start = time.monotonic()
            connection.request("GET", "/health")
            answer = connection.getresponse()
            assert answer.read() and answer.status == 200
            waits.append(time.monotonic() - start)

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        yield
        over.set()
        asking.result()
    assert max(waits, default=0) < 2  # a hundredth of it, unless the machine is busy with other things


def test_what_is_wrong_is_refused_by_its_name(client: Any) -> None:
    wrong = []
    for path, base, cases in (
        ("/chat/completions", {"messages": [USER]}, CHAT),
        ("/completions", {"prompt": "the cat"}, COMPLETION),
    ):
        for name, change in cases:
            content = json.dumps({"max_tokens": 2, **base, **change}).encode("ascii")
            answer = client.post(path, content=content, headers={"content-type": "application/json"})
            found = answer.json()["error"]["param"] if answer.status_code == 400 else answer.text
            if found != name:
                wrong.append((name, str(change)[:100], answer.status_code, str(found)[:300]))
    assert not wrong
    assert client.post("/completions", json={"prompt": ["the cat"], "max_tokens": 2}).status_code == 200


def test_what_apps_send_and_do_not_use_is_accepted(client: Any) -> None:
    harmless = {
        "model": "m",
        "user": "u",
        "store": False,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "n": 1,
        "tools": [],
        "parallel_tool_calls": True,
        "tool_choice": "none",
        "logit_bias": {},
        "frequency_penalty": 0.0,
        "presence_penalty": 0,
        "stop": None,
        "seed": 2**64 - 1,
        "response_format": {"type": "text"},
        "top_p": 1,
        "stream_options": None,
        "max_completion_tokens": 2,
        "temperature": 1e-9,
    }
    talk = [
        {"role": "developer", "content": "Be brief."},
        {**USER, "name": "Ada"},
        {"role": "assistant", "content": None, "refusal": None, "annotations": [], "audio": None, "tool_calls": []},
        {"role": "assistant"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    answer = client.post("/chat/completions", json={"messages": talk, **harmless})
    assert answer.status_code == 200, answer.text
    for format in ({"type": "json_object"}, schema(type="integer")["response_format"]):
        body = {"messages": [USER], "max_tokens": 4, "seed": 2**63, "temperature": 1, "response_format": format}
        answer = client.post("/chat/completions", json=body)
        assert answer.status_code == 200, answer.text


def test_bodies_that_are_no_request(client: Any) -> None:
    head = {"content-type": "application/json"}
    for content, status in (
        (b"", 400),
        (b"{", 400),
        (b"[1]", 400),
        (b'{"messages":' + b"[" * 100_000, 400),
        (b'{"metadata":' + b"[" * 100_000, 400),
        (b'{"prompt": "x", "temperature": NaN}', 400),
        (b'{"prompt": "x", "temperature": 1e999}', 400),
        ('{"prompt": "é"}'.encode("latin-1"), 400),
        ('{"prompt": "x"}'.encode("utf-16"), 400),
        (b'{"prompt": "' + b"x" * 2**23 + b'"}', 413),
        (b'{"prompt": "x", "stop": [' + b'"a",' * 2_000_000 + b'"a"]}', 413),
        (b'{"messages": [' + b'{"role":"user"},' * 400_000 + b"{}]}", 413),
    ):
        for path in ("/completions", "/chat/completions"):
            answer = client.post(path, content=content, headers=head)
            assert answer.status_code == status and answer.json()["error"]["message"], content[:30]

    def unannounced() -> Iterator[bytes]:
        for _ in range(9):
            yield b" " * 2**20

    try:
        assert client.post("/completions", content=unannounced(), headers=head).status_code == 413
    except (httpx.WriteError, httpx.RemoteProtocolError):
        pass  # the server had answered and left before all of it was sent


def test_a_long_conversation_is_cut_without_reading_it_again_and_again(client: Any) -> None:
    talk = [{"role": ("user", "assistant")[i % 2], "content": "the cat sat"} for i in range(2001)]
    answer = client.post("/chat/completions", json={"messages": talk, "max_tokens": 2})
    assert answer.status_code == 200 and answer.json()["usage"]["prompt_tokens"] < 128


def test_pages_of_other_origins_cannot_ask(client: Any) -> None:
    body, post = json.dumps({"prompt": "the cat", "max_tokens": 2}), "/completions"
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "text/json"):
        answer = client.post(post, content=body, headers={"content-type": kind})
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "content-type"
    json_type = {"content-type": "application/json; charset=utf-8"}
    for origin, status in (
        ("https://evil.example", 403),
        ("null", 403),
        ("file://", 403),
        ("https://app.example.evil.example", 403),
        ("https://app.example:444", 403),
        ("http://[", 403),
        (PAGE, 200),
        ("http://localhost:3000", 200),
    ):
        answer = client.post(post, content=body, headers={**json_type, "origin": origin})
        assert answer.status_code == status, origin
        if origin == PAGE:
            assert answer.headers["access-control-allow-origin"] == PAGE
    for origin, status in ((PAGE, 200), ("https://evil.example", 403)):
        asks = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type,x-stainless-lang",
        }
        answer = httpx.options(f"{client.base_url}chat/completions", headers=asks)
        assert answer.status_code == status
        assert ("access-control-allow-headers" in answer.headers) == (status == 200)


def test_the_server_answers_to_its_own_names_only(client: Any) -> None:
    port = client.base_url.port
    for host, status in (
        ("evil.example", 400),
        (f"evil.example:{port}", 400),
        ("127.0.0.1.evil.example", 400),
        ("host.docker.internal", 400),
        (f"LOCALHOST:{port}", 200),
        (f"[::1]:{port}", 200),
        ("127.0.1.1", 200),
        ("10.0.0.1", 400),
    ):
        answer = client.get("/models", headers={"host": host})
        assert answer.status_code == status, host


def test_models_paths_and_methods_answer_as_the_protocol_does(client: Any) -> None:
    entry = client.get("/models").json()["data"][0]
    assert client.get(f"/models/{entry['id']}").json() == entry
    for method, path, status in (
        ("GET", "/models/other", 404),
        ("POST", "/embeddings", 404),
        ("GET", "/chat/completions", 405),
        ("DELETE", f"/models/{entry['id']}", 405),
    ):
        answer = client.request(method, path, json={} if method == "POST" else None)
        assert answer.status_code == status and answer.json()["error"]["message"], path
    for key in ("", "Bearer", "Bearer wrong", f"Basic {KEY}", "Bearer schl\u00fcssel"):
        answer = client.get("/models", headers={"authorization": key.encode("utf-8")})
        assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"


def test_each_event_of_a_completion_is_one_of_a_completion(client: Any) -> None:
    body = {
        "prompt": "the cat",
        "max_tokens": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
        "logprobs": 1,
    }
    lines = client.post("/completions", json=body).text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert {e["object"] for e in events} == {"text_completion"}
    assert events[-1]["usage"]["completion_tokens"] == 3 and not events[-1]["choices"]
    assert len(events[-2]["choices"][0]["logprobs"]["tokens"]) == 3


def test_a_model_that_is_killed_is_opened_again(client: Any, server: tuple[subprocess.Popen[str], str]) -> None:
    body = {"prompt": "the cat", "max_tokens": 2}
    before = client.post("/completions", json=body).json()["choices"]
    for child in children(server[0].pid):
        os.kill(child, signal.SIGKILL)
    answers = [client.post("/completions", json=body) for _ in range(2)]
    assert answers[-1].status_code == 200 and answers[-1].json()["choices"] == before


def test_more_than_the_queue_holds_are_told_to_come_again(client: Any) -> None:
    """Those of which the client leaves are not answered: the last one does not wait for them."""
    body = {"prompt": "the cat", "max_tokens": 100, "temperature": 1.0}
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: client.post("/completions", json=body), range(16)))
    by_status = {a.status_code: a for a in answers}
    assert by_status.keys() == {200, 429}
    assert int(by_status[429].headers["retry-after"]) >= 1
    assert by_status[429].json()["error"]["code"] == "rate_limit_exceeded"


# The command itself.


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--api-key", "x"), "EDGEKIT_API_KEY"),
        (("--host", "0.0.0.0"), "EDGEKIT_API_KEY"),
        (("--host", "::"), "--api-key-file"),
        (("--api-key-file", "/no/such/file"), "There is no file"),
        (("--cors-origin", "localhost:3000"), "is no page's origin"),
        (("--host", "no.such.host.invalid"), "cannot be listened on"),
    ],
)
def test_keys_are_asked_for_and_not_taken_from_the_command_line(
    words: tuple[str, ...],
    text: str,
    text_packages: dict[str, Path],
    edgekit: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EDGEKIT_API_KEY", raising=False)
    ran = edgekit("serve", text_packages["fp32"], "--port", 0, *words)
    assert ran.code == 2 and text in ran.err and ran.err.count("error:") == 1


def test_the_other_loopback_a_key_in_a_file_and_a_server_that_is_killed(
    text_packages: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    (tmp_path / "key").write_text("schlüssel\n", encoding="utf-8")
    try:
        process, url = started(text_packages["fp32"], "--host", "::1", "--api-key-file", tmp_path / "key")
    except AssertionError:
        pytest.skip("this machine has no IPv6")
    try:
        key = {"authorization": "Bearer schlüssel".encode()}
        assert httpx.get(f"{url}/models", headers=key).status_code == 200
        assert httpx.get(f"{url}/models").status_code == 401
        model = children(process.pid)
        assert model and b"schl" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finally:
        process.kill()
        process.wait()
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in model):
        assert time.monotonic() < until, "the model outlives its server"
        time.sleep(0.05)


def test_an_answer_under_way_does_not_keep_the_server_from_ending(text_packages: dict[str, Path]) -> None:
    process, url = started(text_packages["fp32"])
    model = children(process.pid)
    many = [{"type": "string", "pattern": f".*a.{{{i}}}"} for i in range(1, 40)]
    body = {"messages": [USER], **schema(allOf=many)}
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(httpx.post, f"{url}/chat/completions", json=body, timeout=60)
        time.sleep(1)  # it compiles what would take minutes
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130, -signal.SIGINT)
        assert asking.result().json()["error"]["message"]
    assert not any(Path(f"/proc/{pid}").exists() for pid in model)
