"""Clients of `edgekit serve` that take what is scarce and ask for nothing: connections, places, memory."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.serving import started

pytest.importorskip("uvicorn")
pytest.importorskip("msgspec")
httpx = pytest.importorskip("httpx")
if sys.platform == "win32":
    pytest.skip("the limit of open files is POSIX's", allow_module_level=True)

FILES = 256
HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


class Served:
    """A server, its log, and connections to it that are closed at the end."""

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log
        where = httpx.URL(url)
        self.address = (where.host, where.port)
        self._open = contextlib.ExitStack()

    def connect(self, first: bytes = b"") -> socket.socket:
        connection = self._open.enter_context(socket.create_connection(self.address, 30))
        with contextlib.suppress(OSError):  # closed already
            connection.sendall(first)
        return connection

    def healthy(self) -> float:
        """Asks on a connection of its own; seconds."""
        start = time.monotonic()
        assert httpx.get(self.url.replace("/v1", "/health"), timeout=10).status_code == 200
        return time.monotonic() - start

    def answers(self) -> None:
        body = {"prompt": "the cat", "max_tokens": 2}
        answer = httpx.post(f"{self.url}/completions", json=body, timeout=60)
        assert answer.status_code == 200, answer.text

    def let_go(self) -> None:
        self._open.close()


@pytest.fixture(scope="module")
def running(text_packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    log = tmp_path_factory.mktemp("log") / "log"
    process, url = started(text_packages["fp32"], "--queue", 3, files=FILES, log=log)
    yield Served(process, url, log)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) in (0, 130, -signal.SIGINT)


@pytest.fixture
def served(running: Served) -> Iterator[Served]:
    yield running
    running.let_go()
    assert running.process.poll() is None
    said = running.log.read_text(encoding="utf-8")
    assert "Traceback" not in said and "Too many open files" not in said, said[:2000]


def rest(connection: socket.socket) -> bytes:
    """What comes until the server closes."""
    content = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            content += piece
    return content


def trickle(connection: socket.socket, crumb: bytes, seconds: float = 60) -> bytes:
    """Sends a little again and again until there is an answer, or the end: which is b""."""
    connection.settimeout(0.5)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            connection.sendall(crumb)
            return connection.recv(65536)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
    raise AssertionError("the server waits for ever")


def still_open(connections: list[socket.socket]) -> int:
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            count += bool(connection.recv(1))
        except BlockingIOError:
            count += 1
        except ConnectionError:
            pass
    return count


@pytest.mark.parametrize("first", [b"", b"GET /health HTTP/1.1\r\nhost:", HEAD + b"content-length: 9\r\n\r\n{"])
def test_more_connections_than_files_leave_room(served: Served, first: bytes) -> None:
    """Those that say nothing, those in the middle of a header, and those in the middle of a body."""
    many = []
    for i in range(300):
        many.append(served.connect(first))
        if not i % 20:
            served.healthy()
    waits = [served.healthy() for _ in range(10)]
    served.answers()
    assert still_open(many) <= FILES // 2
    assert max(waits) < 5  # a hundredth of it, unless the machine is busy with other things


def test_connections_that_come_all_at_once_leave_room(served: Served) -> None:
    with ThreadPoolExecutor(50) as threads:
        many = list(threads.map(lambda _: served.connect(), range(500)))
        served.healthy()
    assert still_open(many) <= FILES // 2


def test_a_connection_without_a_whole_request_is_closed(served: Served) -> None:
    ask = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    silent, begun, crumbs, again = (served.connect(x) for x in (b"", ask[:-2], ask[:-2], ask))
    kept, unread = served.connect(ask), served.connect(HEAD + b"content-length: 9999999\r\n\r\n")
    for connection, end in ((again, b'"ok"}'), (kept, b'"ok"}'), (unread, b"}}")):
        said = b""
        while not said.endswith(end):
            said += connection.recv(65536)
    assert b" 413 " in said
    again.sendall(ask[:-2])
    start = time.monotonic()
    with ThreadPoolExecutor(6) as threads:
        slow = [
            threads.submit(trickle, crumbs, b"x: y\r\n"),
            threads.submit(trickle, again, b"x: y\r\n"),  # in its second header
            threads.submit(trickle, unread, b" "),  # what was refused, and comes all the same
        ]
        quiet = [threads.submit(rest, c) for c in (silent, begun, kept)]
        assert [s.result() for s in slow] == [b""] * 3
        assert [q.result() for q in quiet] == [b""] * 3
    assert time.monotonic() - start < 25


def test_a_kept_connection_is_used_again(served: Served) -> None:
    with httpx.Client(base_url=served.url) as client:
        for wait in (0, 3.5, 3.5, 3.5):  # together longer than a header may take
            time.sleep(wait)
            client.get("/models").raise_for_status()
    assert served.healthy() < 5


def test_slow_bodies_hold_no_place(served: Served) -> None:
    with ThreadPoolExecutor(100) as threads:
        connections = [served.connect(HEAD + b"content-length: 4096\r\n\r\n{") for _ in range(100)]
        slow = [threads.submit(trickle, c, b" ") for c in connections]
        for _ in range(5):
            served.answers()
            served.healthy()
        assert not any(s.done() for s in slow)  # they were there all the time
        kinds = {s.result().split(b"\r\n")[0] for s in slow}
    assert kinds == {b"HTTP/1.1 408 Request Timeout"}


def test_large_bodies_that_stop_give_way_to_small_ones(served: Served) -> None:
    size = 8 * 2**20
    head = HEAD + b"content-length: %d\r\n\r\n" % size
    with ThreadPoolExecutor(12) as threads:
        large = list(threads.map(lambda _: served.connect(head + b" " * (size - 1)), range(12)))
        for _ in range(3):
            served.answers()
            served.healthy()
        said = list(threads.map(rest, large))
    kinds = [answer.split(b" ")[1] for answer in said if answer]
    assert kinds.count(b"429") >= 4 and set(kinds) <= {b"429", b"408"}
    refused = next(answer for answer in said if b" 429 " in answer)
    assert b"retry-after: " in refused.lower() and b"rate_limit_exceeded" in refused


def test_a_body_too_large_or_too_late_frees_the_memory_it_held(served: Served) -> None:
    for _ in range(3):
        with ThreadPoolExecutor(6) as threads:
            for c in [served.connect(HEAD + b"transfer-encoding: chunked\r\n\r\n") for _ in range(6)]:
                threads.submit(c.sendall, b"%x\r\n" % (9 * 2**20) + b" " * (9 * 2**20))
        served.let_go()
    body: dict[str, Any] = {"prompt": "the cat", "max_tokens": 2, "metadata": {"a": "x" * (7 * 2**20)}}
    content = json.dumps(body).encode("ascii")
    kind = {"content-type": "application/json"}
    for _ in range(10):  # more bytes than may be on their way, one after the other
        answer = httpx.post(f"{served.url}/completions", content=content, headers=kind, timeout=60)
        assert answer.status_code == 200, answer.text


class Panic(BaseException):
    """As a Rust library's panic arrives: it is no Exception."""


@pytest.mark.parametrize("kind", [Panic, ValueError, MemoryError, SystemExit, KeyboardInterrupt])
def test_a_panic_is_an_error_and_not_the_end(kind: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.serving.worker import Worker

    def fail(self: Worker, question: Any) -> Iterator[Any]:
        raise kind("range end out of bounds")
        yield

    monkeypatch.setattr(Worker, "_answer", fail)
    said = Worker().handle({"id": 1})
    if kind in (Panic, ValueError):
        assert kind.__name__ in next(said)["error"]["why"]
    else:  # the process ends, or its caller knows what to do
        with pytest.raises(kind):
            next(said)
