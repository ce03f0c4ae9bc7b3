"""The server's model, inside this process: without HTTP, and HTTP before a model that only counts."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgekit.errors import EdgekitError
from tests.altered import put
from tests.serving import USER

pytest.importorskip("uvicorn")
pytest.importorskip("msgspec")
httpx = pytest.importorskip("httpx")


def asked(subject: Any, **options: Any) -> Any:
    from edgekit.serving.schema import Question

    return Question(isinstance(subject, list), subject, {"max_tokens": 2, **options}, False, False)


def answered(model: Any, *requests: Any) -> list[Any]:
    """For each request the text, or the error."""
    import anyio

    async def one(request: Any) -> Any:
        turn, text = model.enter(), ""
        try:
            await turn.begin(request)
            while isinstance(line := await turn.line(), str):
                text += line
            return text
        except EdgekitError as error:
            return error
        finally:
            await turn.close()

    async def all_of_them() -> list[Any]:
        return [await one(request) for request in requests]

    try:
        return anyio.run(all_of_them)
    finally:
        model.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is Linux's")
def test_a_schema_that_takes_all_memory_takes_a_process_only(text_packages: dict[str, Path]) -> None:
    """What the bounds of a request let through, if anything: here they are not asked."""
    from edgekit.serving.model import Model

    hungry = {"type": "array", "items": {"type": "integer"}, "minItems": 10**9}
    refused, after = answered(Model(str(text_packages["fp32"])), asked([USER], schema=hungry), asked([USER]))
    assert refused.param == "response_format" and refused.status == 400
    assert isinstance(after, str)


TEMPLATES = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "doubles": "{% set n = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set n.t = n.t + n.t %}{% endfor %}{{ n.t }}",
    "recurses": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the limit of memory is Linux's")
@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_that_never_ends_takes_a_process_only(
    name: str, text_packages: dict[str, Path], tmp_path: Path
) -> None:
    from edgekit.serving.model import Model

    package, content = tmp_path / "package", TEMPLATES[name].encode("ascii")
    shutil.copytree(text_packages["fp32"], package)
    put(package, "chat_template.jinja", content)
    model = Model(str(package), reading=2)
    refused, after = answered(model, asked([USER]), asked("the cat"))
    assert isinstance(refused, EdgekitError) and refused.param == "messages"
    assert isinstance(after, str)


class Counting:
    """In place of a model's process: a token every so often, until it is told to stop."""

    begun: ClassVar[list[int]] = []
    written = 0

    def __init__(self, module: str, *arguments: str) -> None:
        self._question: Any = None
        self._cancelled = threading.Event()

    def ask(self, question: Any, seconds: float | None) -> Any:
        return {"ready": {"context_length": 10**6}}

    def send(self, question: Any) -> None:
        if "cancel" in question:
            self._cancelled.set()
            return
        self._question, self._left = question, question["options"]["max_tokens"]
        self._cancelled.clear()
        Counting.begun.append(question["options"]["max_tokens"])

    def receive(self, seconds: float | None) -> Any:
        if self._cancelled.wait(0.01) or not self._left:
            return {"done": {"finish": "stop", "tokens": 1, "prompt_tokens": 1, "read": 1, "scores": []}}
        self._left -= 1
        Counting.written += 1
        return {"text": "x"}

    def close(self) -> None:
        self._cancelled.set()


def test_nobody_waits_for_those_who_left(monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    from edgekit.serving import model as serving
    from edgekit.serving.app import Server

    monkeypatch.setattr(serving, "Child", Counting)
    model = serving.Model("none")
    model.start()
    running = uvicorn.Server(uvicorn.Config(Server(model, "m").application(), port=0, log_config=None))
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}/v1/completions"

    def leave(stream: bool, tokens: int) -> None:
        body = {"prompt": "x", "max_tokens": tokens, "stream": stream}
        with pytest.raises(httpx.TimeoutException), httpx.Client(timeout=1) as client:
            if not stream:
                client.post(url, json=body)
            else:
                with client.stream("POST", url, json=body) as answer:
                    for _, _ in zip(range(5), answer.iter_lines()):
                        pass
                    raise httpx.TimeoutException("enough")

    try:
        for stream in (True, False):  # the first of each runs, the others wait, all leave
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(leave, [stream] * 4, range(10**6, 10**6 + 4)))
        body = {"prompt": "x", "max_tokens": 3}
        assert httpx.post(url, json=body, timeout=60).json()["choices"][0]["text"] == "xxx"
        assert Counting.begun[-1] == 3 and len(Counting.begun) <= 9
        assert Counting.written < 10_000  # of the millions that were asked for
    finally:
        running.should_exit = True
        thread.join(20)
    assert not thread.is_alive() and model.taken == 0
