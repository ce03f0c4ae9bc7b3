"""The emulator's HTTP server, on this machine's loopback interface only.

/api/v1/…      AI Hub's interface (`api.py`)
/storage/…     the store of files (`storage.py`), by another name of this machine than the
               interface's: the client tells errors of AI Hub from errors of its storage by that
/_emulator/…   what tests ask: GET log; GET, POST, DELETE faults
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import tempfile
import threading
import time
import traceback
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from edgekit_hub_emulator import api, storage
from edgekit_hub_emulator.faults import ANSWER, Fault, Faults, parse
from edgekit_hub_emulator.jobs import Runner
from edgekit_hub_emulator.store import Store
from edgekit_hub_emulator.wire import Answer, RefusalError, Request

_API, _STORAGE, _CONTROL = "/api/v1/", "/storage/", "/_emulator/"
_LARGEST = 16 << 20  # of a message; files may be larger
_CHUNK = 1 << 20


class Emulator(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, state: Path, port: int, token: str, faults: Faults, python: str, path: str, part: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.token, self.faults = token, faults
        self.store = Store(state)
        self.runner = Runner(self.store, faults, python, path)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.api = api.Api(self.store, self.runner, f"http://localhost:{self.server_port}{_STORAGE[:-1]}", part)
        self.storage = storage.Storage(self.store, faults)
        self._log = state / "log.jsonl"
        self._writing = threading.Lock()
        if self._log.exists():
            with self._log.open("a", encoding="utf-8") as file:
                file.write("\n")  # after a line that kill -9 cut

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignores clients that close the connection."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def note(self, **row: Any) -> None:
        with self._writing, self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": time.time(), **row}) + "\n")

    def noted(self) -> list[Any]:
        with self._writing:
            lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        entries = []
        for line in lines:
            with contextlib.suppress(ValueError):  # a line that kill -9 cut
                entries.append(json.loads(line))
        return entries


@dataclass
class Met:
    """What is known of one request, which may be incomplete."""

    path: str = ""
    operation: str = ""
    bytes: int = 0
    fault: Fault | None = None
    answer: Answer | None = None  # None: hang up


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "edgekit-hub-emulator"
    timeout = 60  # seconds without a byte
    server: Emulator

    def _serve(self) -> None:
        met = Met()
        with tempfile.NamedTemporaryFile(dir=self.server.store.incoming, delete=False) as file:
            body = Path(file.name)
        try:
            self._meet(met, body)
        except RefusalError as refusal:
            met.answer = refusal.answer
        except Exception:  # a mistake here must not look like a network's
            traceback.print_exc()
            met.answer = Answer.refusal(500, "The emulator has a defect; its stderr says more.")
        finally:
            body.unlink(missing_ok=True)
        if not met.path.startswith(_CONTROL):
            self.server.note(
                method=self.command,
                path=met.path,
                operation=met.operation,
                bytes=met.bytes,
                status=met.answer.status if met.answer else 0,
                fault=met.fault.kind if met.fault else "",
            )
        if met.answer:
            self._send(met.answer, met.fault)
        else:
            self._hang_up()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _meet(self, met: Met, body: Path) -> None:
        headers = {k.lower(): v for k, v in self.headers.items()}
        try:
            address = urlsplit(self.path)
            length = int(headers.get("content-length") or 0)
            known = length >= 0 and "transfer-encoding" not in headers
        except ValueError:
            known = False
        if not known:
            self.close_connection = True  # where the next request begins is not known either
            raise RefusalError(400, "The address or the length of this request is not clear.")
        met.path = address.path
        limit = length if address.path.startswith(_STORAGE) else _LARGEST
        met.bytes = self._receive(body, length, limit)
        if met.bytes < length:  # the client hung up
            return
        request = Request(self.command, address.path, address.query, headers, body)
        if length > limit:
            raise RefusalError(413, "This message is too large.")
        if address.path.startswith(_CONTROL):
            met.answer = self._control(request)
        else:
            self._answer(met, request)

    def _receive(self, body: Path, length: int, limit: int) -> int:
        """Reads the whole body, since the client would not read the answer otherwise; at most `limit` bytes go to
        the file."""
        count = 0
        with body.open("wb") as file:
            while count < length:
                try:
                    data = self.rfile.read(min(_CHUNK, length - count))
                except OSError:
                    break
                if not data:
                    break
                file.write(data[: max(0, limit - count)])
                count += len(data)
        return count

    def _answer(self, met: Met, request: Request) -> None:
        owner: Any = self.server.api
        table, base = api.ROUTES, _API
        if request.path.startswith(_STORAGE):
            owner, table, base = self.server.storage, storage.ROUTES, _STORAGE
        words = request.path.removeprefix(base).split("/")
        if words[0] == "projects" and owner is self.server.api:  # projects/ID/models
            words = words[2:]
        match = table.find(request.method, "/".join(words)) if request.path.startswith(base) else None
        if not match:
            raise RefusalError(404, "Not found.")
        route, names = match
        met.operation = route.operation
        met.fault = fault = self.server.faults.take(ANSWER, route.operation)
        if fault and fault.kind == "slow-response":
            time.sleep(fault.seconds)
        elif fault and fault.kind != "drop-connection":
            met.answer = _struck(fault, owner is self.server.storage)
            return
        elif fault and fault.value == "before":
            return
        if owner is self.server.api and not self._trusted(request):
            raise RefusalError(401, "Invalid token.")
        answer: Answer = getattr(owner, route.function)(request, **names)
        met.answer, met.fault = answer, fault or answer.fault

    def _trusted(self, request: Request) -> bool:
        header = request.headers.get("authorization", "").encode()
        return secrets.compare_digest(header, f"token {self.server.token}".encode())

    def _control(self, request: Request) -> Answer:
        if not self._trusted(request):
            raise RefusalError(401, "Invalid token.")
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
                    faults.add(parse(json.loads(request.body.read_bytes())))
                except (TypeError, ValueError) as error:
                    return Answer.refusal(400, str(error))
                return Answer.json(faults.listed())
        return Answer.refusal(404, "Not found.")

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        kind = fault.kind if fault else ""
        size = answer.file.stat().st_size if answer.file else len(answer.body)
        within = fault is not None and fault.value == "within" and size > 0
        if kind == "drop-connection" and not within:
            return self._hang_up()
        cut = kind in ("drop-connection", "truncated-download")
        try:
            self.send_response(answer.status)
            if answer.kind:
                self.send_header("Content-Type", answer.kind)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(size))
            self.end_headers()
            flip = size // 2 if kind == "corrupt-download" else -1
            self._send_body(answer, size // 2 if cut else size, flip)
            if cut:
                self._hang_up()
        except OSError:  # the client is gone
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
        """Writes nothing: requests are in log.jsonl."""


def _struck(fault: Fault, storage_answers: bool) -> Answer:
    if fault.kind == "expired-token":
        return Answer.refusal(401, "Token has expired.")
    status = int(fault.kind)
    if storage_answers:
        answer = Answer.storage_error(status, "SlowDown" if status == 503 else "InternalError", "Please try again.")
    else:
        answer = Answer.refusal(status, "Request was throttled." if status == 429 else "Emulated failure.")
    if fault.value:
        answer.headers["Retry-After"] = fault.value
    return answer
