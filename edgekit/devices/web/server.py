"""The server of one page, for one browser, behind one token. What is not named here is refused."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import socket
import tempfile
import threading
from functools import partial
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from edgekit import progress
from edgekit.devices.web.certificate import make_certificate
from edgekit.devices.web.exchange import Exchange
from edgekit.devices.web.setup import FILES
from edgekit.errors import DeviceError
from edgekit.serving import connections
from edgekit.system.documents import DocumentError, JsonObject, parse_json

PAGE = Path(__file__).with_name("page")
_PAGES = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "measure.js": ("measure.js", "text/javascript"),
    "beat.js": ("beat.js", "text/javascript"),
}
_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
MOST_JSON = 2**22  # bytes of a launch: some ten thousand samples
_POLL_S = 15.0  # a page that asks for work is answered at the latest then
_BODY_S = 120.0  # for a body to arrive
_HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "connect-src 'self'; worker-src 'self' blob:; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


class PageServer:
    """Runs in a thread of its own, from `start` to `stop`. `url`: what is opened in the browser."""

    def __init__(self, exchange: Exchange, engine: Path, host: str, port: int, tls: bool) -> None:
        """`engine`: the folder with onnxruntime-web. Raises DeviceError for a port that is taken."""
        self._exchange, self._engine, self._token = exchange, engine, secrets.token_urlsafe(16)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._socket.bind((host, port))
            self._socket.listen(64)  # who comes before the server runs waits
        except OSError as error:
            self._socket.close()
            raise DeviceError(
                f"No page can be served at {host}, port {port or 'any'}",
                error.strerror or str(error),
                "name another port (option port), or an address of this machine (--host)",
            ) from error
        self.port: int = self._socket.getsockname()[1]
        shown = _address() if host in ("0.0.0.0", "::") else host
        self.fingerprint = ""
        route = Route("/{token}/{rest:path}", self._answer, methods=["GET", "POST"])
        room = connections.Room(64)
        config = uvicorn.Config(
            Starlette(routes=[route]),
            http=partial(connections.Connection, room),
            ws="none",
            loop="asyncio",
            lifespan="off",
            timeout_keep_alive=connections.KEEP_ALIVE,
            log_level="critical",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        if tls:
            with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
                made = make_certificate(shown, Path(folder))
                config.ssl_certfile = str(made.file)
                config.load()  # reads the key, whose file goes at once
            self.fingerprint = made.fingerprint
        name = f"[{shown}]" if ":" in shown else shown
        self.url = f"{'https' if tls else 'http'}://{name}:{self.port}/{self._token}/"
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(5)
        self._socket.close()

    async def _answer(self, request: Request) -> Response:
        given = request.path_params["token"].encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(given, self._token.encode("ascii")):
            return _plain(403)
        rest: str = request.path_params["rest"]
        try:
            if request.method == "POST":
                return await self._post(request, rest)
            return await self._get(request, rest)
        except (DocumentError, ValueError):
            return _plain(400)
        except TimeoutError:
            return _plain(408)

    async def _get(self, request: Request, rest: str) -> Response:
        if rest in _PAGES:
            name, kind = _PAGES[rest]
            return FileResponse(PAGE / name, media_type=kind, headers=_HEADERS)
        kind, _, name = rest.partition("/")
        if kind == "ort" and name in FILES:
            return FileResponse(self._engine / name, media_type=_TYPES[Path(name).suffix], headers=_HEADERS)
        if not self._exchange.claim(request.headers.get("x-browser", "")):
            return _plain(409)
        job = self._exchange.job()
        if rest == "job":
            return await self._next_job()
        if job is not None and kind == "package" and name in job.files:
            return FileResponse(job.folder / name, media_type="application/octet-stream", headers=_HEADERS)
        if job is not None and kind == "input":
            row, _, tensor = name.partition("/")
            data = job.input_bytes(_number(row), tensor)
            if data is not None:
                return Response(data, media_type="application/octet-stream", headers=_HEADERS)
        return _plain(404)

    async def _next_job(self) -> Response:
        for _ in range(int(_POLL_S / 0.1)):
            job = self._exchange.job()
            if job is not None:
                return _json({"kind": job.kind, "number": job.number, **job.words})
            if self._exchange.ended:
                self._exchange.told = True
                return _json({"kind": "done"})
            await asyncio.sleep(0.1)
        return _json({"kind": "wait"})

    async def _post(self, request: Request, rest: str) -> Response:
        kind, _, name = rest.partition("/")
        browser, exchange = request.headers.get("x-browser", "")[:64], self._exchange
        if kind == "hello":
            facts = _object(await _body(request, 2**14))
            return _plain(204 if exchange.claim(browser, facts) else 409)
        if not exchange.claim(browser):
            return _plain(409)
        if kind == "beat":
            if exchange.beat(name == "hidden"):
                progress.note("The page is hidden or the screen is off: that launch will be repeated.")
            return _plain(204)
        job = exchange.job()
        if kind == "result":
            answer = _object(await _body(request, MOST_JSON))
            return _plain(204 if exchange.answer(_number(name), answer) else 410)
        if kind == "output" and job is not None:
            row, index = (_number(part) for part in name.split("/", 1))
            size = job.output_size(index)
            if size < 0 or not 0 <= row < len(job.inputs):
                return _plain(404)
            data = await _body(request, size)
            if len(data) != size:
                return _plain(400)
            job.outputs[row, index] = data
            return _plain(204)
        return _plain(404)


async def _body(request: Request, most: int) -> bytes:
    """At most `most` bytes. Raises ValueError for more, TimeoutError when they do not come."""
    parts, size = [], 0
    async with asyncio.timeout(_BODY_S):
        async for part in request.stream():
            size += len(part)
            if size > most:
                raise ValueError("the body is too large")
            parts.append(part)
    return b"".join(parts)


def _object(content: bytes) -> JsonObject:
    value = parse_json(content, MOST_JSON)
    if not isinstance(value, dict):
        raise ValueError("it is no object")
    return value


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 7):
        raise ValueError("that is no number")
    return int(text)


def _plain(code: int) -> Response:
    return Response(status_code=code, headers=_HEADERS)


def _json(value: JsonObject) -> Response:
    return JSONResponse(value, headers=_HEADERS)


def _address() -> str:
    """This machine's address in its network: that of the way out. Nothing is sent."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # of the range that is for documentation only
        return str(probe.getsockname()[0])
    return "127.0.0.1"
