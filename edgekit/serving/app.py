"""The HTTP side: routes, one answer at a time, streams that end when the client leaves."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from edgekit.errors import EdgekitError, UsageError
from edgekit.runtime.generator import LanguageModel
from edgekit.serving import protocol

_LARGEST = 8 * 2**20  # bytes of a request
LOCAL = ("127.0.0.1", "localhost", "::1")


class Server:
    """A model and the requests that wait for it."""

    def __init__(self, llm: LanguageModel, name: str, key: str = "") -> None:
        self.llm, self.name, self.key = llm, name, key
        self._turn = anyio.Semaphore(1)  # a stream ends in another task than it began

    def application(self, hosts: tuple[str, ...] = LOCAL) -> Starlette:
        """`hosts`: names the server answers to; a page elsewhere that resolves to here is refused."""
        routes = [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
        ]
        trusted = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
        return Starlette(routes=routes, middleware=[trusted])

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        if not self._allowed(request):
            return _refused()
        entry = {"id": self.name, "object": "model", "created": 0, "owned_by": "edgekit",
                 "context_length": self.llm.spec.context_length}  # fmt: skip
        return JSONResponse({"object": "list", "data": [entry]})

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, chat=False)

    async def _answer(self, request: Request, chat: bool) -> Response:
        if not self._allowed(request):
            return _refused()
        try:
            body = await _body(request)
            options = protocol.options(body, default_tokens=1024 if chat else 16)
            options["overflow"] = "truncate" if chat else "error"
            asked: Any = protocol.messages(body) if chat else body.get("prompt")
            if not chat and not isinstance(asked, str):
                raise UsageError("prompt is missing or no text")
            answer = protocol.Answer(self.name, chat)
            if body.get("stream"):
                totals = bool((body.get("stream_options") or {}).get("include_usage"))
                await self._turn.acquire()
                try:  # the first piece now: what is wrong with the request is an error, not a broken stream
                    pieces = _Pieces(self._pieces(asked, options, chat))
                    first = await run_in_threadpool(pieces.next)
                except BaseException:
                    self._turn.release()
                    raise
                stream = self._stream(answer, pieces, first, totals)
                return StreamingResponse(stream, media_type="text/event-stream")
            async with self._turn:
                done = await run_in_threadpool(self._whole, asked, options, chat)
            return JSONResponse(answer.whole(done))
        except EdgekitError as error:
            status, content = protocol.failure(error)
            return JSONResponse(content, status)

    def _pieces(self, asked: Any, options: dict[str, Any], chat: bool) -> Iterator[str]:
        return self.llm.chat_stream(asked, **options) if chat else self.llm.stream(asked, **options)

    def _whole(self, asked: Any, options: dict[str, Any], chat: bool) -> Any:
        return self.llm.chat(asked, **options) if chat else self.llm.generate(asked, **options)

    async def _stream(
        self, answer: protocol.Answer, pieces: _Pieces, piece: str | None, totals: bool
    ) -> AsyncIterator[str]:
        """Ends the generation when the client has left: starlette closes this generator then."""
        try:
            yield answer.piece(piece or "", first=True)
            while piece is not None:
                piece = await run_in_threadpool(pieces.next)
                if piece:
                    yield answer.piece(piece)
            done = self.llm.last
            assert done is not None
            yield answer.piece("", finish=done.finish)
            if totals:
                yield answer.totals(done)
            yield protocol.event("[DONE]")
        finally:
            self.llm.cancel()
            with anyio.CancelScope(shield=True):  # nobody's turn before this one has really ended
                await run_in_threadpool(pieces.close)
            self._turn.release()

    def _allowed(self, request: Request) -> bool:
        import hmac

        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return not self.key or hmac.compare_digest(given.encode(), self.key.encode())


class _Pieces:
    """A text that threads take turns to draw from; `close` waits for the one that is drawing."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces, self._lock = pieces, threading.Lock()

    def next(self) -> str | None:
        with self._lock:
            return next(self._pieces, None)

    def close(self) -> None:
        with self._lock:
            self._pieces.close()  # type: ignore[attr-defined]  # it is a generator


async def _body(request: Request) -> dict[str, Any]:
    content = b""
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST:
            raise UsageError("The request is too large", f"more than {_LARGEST} bytes")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UsageError("The request is not JSON", str(error)) from error
    if not isinstance(data, dict):
        raise UsageError("The request is no JSON object")
    return data


def _refused() -> Response:
    error = {"message": "The key is missing or wrong.", "type": "invalid_request_error", "param": None,
             "code": "invalid_api_key"}  # fmt: skip
    return JSONResponse({"error": error}, 401)
