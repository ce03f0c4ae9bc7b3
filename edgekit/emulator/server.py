"""The emulator's HTTP server, on this machine's loopback interface only.

/api/v1/…      AI Hub's interface (`api.py`)
/storage/…     the store of files (`storage.py`), by another name of this machine than the
               interface's: the client tells errors of AI Hub from errors of its storage by that
/_emulator/…   what tests ask: GET log; GET, POST, DELETE faults
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgekit.emulator import api, storage
from edgekit.emulator.devices import DEVICES
from edgekit.emulator.faults import ANSWER, DOWNLOAD, Fault, Faults, parse
from edgekit.emulator.jobs import Runner
from edgekit.emulator.store import Store
from edgekit.emulator.wire import Answer, RefusalError, Request

_API, _STORAGE, _CONTROL = "/api/v1/", "/storage/", "/_emulator/"
_LARGEST = 64 << 20  # of a message; files may be larger
_CHUNK = 1 << 20
_PART = 64 << 20


class Emulator(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, state: Path, port: int, token: str, faults: Faults, python: str, path: str, part: int
    ) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.token, self.faults = token, faults
        self.store = Store(state)
        self.runner = Runner(self.store, faults, python, path)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.api = api.Api(
            self.store, self.runner, f"http://localhost:{self.server_port}{_STORAGE[:-1]}", part
        )
        self.storage = storage.Storage(self.store, faults)
        self._log = state / "log.jsonl"
        self._writing = threading.Lock()

    def note(self, **row: Any) -> None:
        with self._writing, self._log.open("a") as file:
            file.write(json.dumps({"time": time.time(), **row}) + "\n")

    def noted(self) -> list[Any]:
        with self._writing:
            lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [json.loads(line) for line in lines]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "edgekit-hub-emulator"
    server: Emulator

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        headers = {k.lower(): v for k, v in self.headers.items()}
        length = int(headers.get("content-length") or 0)
        with tempfile.NamedTemporaryFile(dir=self.server.store.root / "incoming", delete=False) as file:
            got = self._receive(file, length)
        request = Request(self.command, parts.path, parts.query, headers, Path(file.name))
        operation, fault, answer = "", None, None
        try:
            if got < length:  # the client hung up
                self.close_connection = True
                return
            operation, fault, answer = self._answer(request)
        finally:
            request.body.unlink(missing_ok=True)
            self.server.note(method=self.command, path=parts.path, operation=operation, bytes=got,
                             status=answer.status if answer else 0, fault=fault.kind if fault else "")  # fmt: skip
        if answer:
            self._send(answer, fault)
        else:
            self._hang_up()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _receive(self, file: Any, length: int) -> int:
        got = 0
        while got < length:
            data = self.rfile.read(min(_CHUNK, length - got))
            if not data:
                break
            file.write(data)
            got += len(data)
        return got

    def _answer(self, request: Request) -> tuple[str, Fault | None, Answer | None]:
        """The operation, the fault that meets it, and the answer; None: hang up."""
        if request.path.startswith(_CONTROL):
            return "", None, self._control(request)
        if request.path.startswith(_STORAGE):
            owner: Any = self.server.storage
            found = storage.ROUTES.find(request.method, request.path.removeprefix(_STORAGE))
        else:
            owner = self.server.api
            path = request.path.removeprefix(_API)
            words = path.split("/")
            path = "/".join(words[2:]) if words[0] == "projects" and len(words) > 2 else path
            found = api.ROUTES.find(request.method, path) if path != request.path else None
        if not found:
            return "", None, Answer.refusal(404, "Not found.")
        route, names = found
        fault = self.server.faults.take(ANSWER, route.operation)
        if fault and fault.kind == "slow-response":
            time.sleep(fault.seconds)
        elif fault and fault.kind == "drop-connection":
            if fault.value == "before":
                return route.operation, fault, None
        elif fault:
            return route.operation, fault, _struck(fault, owner is self.server.storage)
        if owner is self.server.api:
            if not self._trusted(request):
                return (
                    route.operation,
                    fault,
                    Answer.refusal(401, "Invalid token.", **{"WWW-Authenticate": "Token"}),
                )
            if request.body.stat().st_size > _LARGEST:
                return route.operation, fault, Answer.refusal(413, "This message is too large.")
        try:
            answer: Answer = getattr(owner, route.function)(request, **names)
        except RefusalError as refusal:
            answer = refusal.answer
        return route.operation, fault or self._download_fault(route.operation, answer), answer

    def _download_fault(self, operation: str, answer: Answer) -> Fault | None:
        return self.server.faults.take(DOWNLOAD, operation) if answer.file else None

    def _trusted(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode()
        return secrets.compare_digest(given, f"token {self.server.token}".encode())

    def _control(self, request: Request) -> Answer:
        if not self._trusted(request):
            return Answer.refusal(401, "Invalid token.")
        faults = self.server.faults
        match request.method, request.path.removeprefix(_CONTROL).strip("/"):
            case "GET", "log":
                return Answer.json(self.server.noted())
            case "GET", "faults":
                return Answer.json(faults.listed())
            case "DELETE", "faults":
                faults.clear()
                return Answer.json([])
            case "POST", "faults":
                try:
                    asked = json.loads(request.body.read_bytes())
                    faults.add(parse(asked) if isinstance(asked, str) else Fault(**asked))
                except (TypeError, ValueError) as error:
                    return Answer.refusal(400, str(error))
                return Answer.json(faults.listed())
        return Answer.refusal(404, "Not found.")

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        size = answer.file.stat().st_size if answer.file else len(answer.body)
        try:
            self.send_response(answer.status)
            if answer.kind:
                self.send_header("Content-Type", answer.kind)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(size))
            cut = kind in ("drop-connection", "truncated-download")
            if cut and not size:  # not even the end of the headers arrives
                self._headers_buffer = self._headers_buffer[:1]  # type: ignore[has-type]
                self.flush_headers()
                return self._hang_up()
            self.end_headers()
            self._send_body(
                answer, size // 2 if cut else size, size // 2 if kind == "corrupt-download" else -1
            )
            if cut:
                self._hang_up()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send_body(self, answer: Answer, size: int, flip: int) -> None:
        """`flip`: the place of a byte that arrives as another one."""
        if not answer.file:
            self.wfile.write(answer.body[:size])
            return
        sent = 0
        with answer.file.open("rb") as file:
            while sent < size:
                data = bytearray(file.read(min(_CHUNK, size - sent)))
                if sent <= flip < sent + len(data):
                    data[flip - sent] ^= 0xFF
                self.wfile.write(data)
                sent += len(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:  # it was quicker
            pass

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are in log.jsonl."""


def _struck(fault: Fault, storage_answers: bool) -> Answer:
    if fault.kind == "expired-token":
        return Answer.refusal(401, "Token has expired.", **{"WWW-Authenticate": "Token"})
    status = int(fault.kind)
    if storage_answers:
        answer = Answer.storage_error(
            status, "SlowDown" if status == 503 else "InternalError", "Please try again."
        )
    else:
        answer = Answer.refusal(
            status, "Request was throttled." if status == 429 else "Emulated failure."
        )
    if fault.value:
        answer.headers["Retry-After"] = fault.value
    return answer


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    state: Path = options.state.resolve()
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    ini = state / "client.ini"
    before = _read(ini)
    token = options.token or before.get("api_token") or secrets.token_hex(20)
    faults = Faults([parse(f) for f in options.fault])
    port = options.port or urlsplit(before.get("api_url", "")).port or 0
    made = (options.edgekit_python, options.edgekit_path, options.part_size)
    try:
        emulator = Emulator(state, port, token, faults, *made)
    except OSError:
        if options.port or not port:
            raise
        emulator = Emulator(state, 0, token, faults, *made)  # another took the port of last time
    _write(ini, emulator.url, token)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=emulator.shutdown).start())
    emulator.runner.start()
    ready = {"schema": "edgekit.hub-emulator/1", "url": emulator.url, "client_ini": str(ini),
             "state": str(state), "pid": os.getpid(), "devices": len(DEVICES)}  # fmt: skip
    print(json.dumps(ready), flush=True)
    try:
        emulator.serve_forever(poll_interval=0.1)
    finally:
        emulator.runner.stop()
        emulator.server_close()
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="edgekit.emulator")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token", default="")
    parser.add_argument("--fault", action="append", default=[])
    parser.add_argument("--edgekit-python", default=sys.executable)
    parser.add_argument("--edgekit-path", default="")
    parser.add_argument("--part-size", type=int, default=_PART)
    return parser.parse_args(arguments)


def _read(ini: Path) -> dict[str, str]:
    config = configparser.ConfigParser(interpolation=None)
    config.read(ini)
    return dict(config["api"]) if "api" in config else {}


def _write(ini: Path, url: str, token: str) -> None:
    lines = [
        "[api]",
        f"api_token = {token}",
        f"api_url = {url}",
        f"web_url = {url}",
        "verbose = False",
        "",
    ]
    with tempfile.NamedTemporaryFile(
        "w", dir=ini.parent, delete=False
    ) as file:  # readable by its owner only
        file.write("\n".join(lines))
    os.replace(file.name, ini)
