"""The HTTP side: routes, and answers that end when their client leaves."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from edgekit.errors import EdgekitError
from edgekit.serving import schema
from edgekit.serving.guard import Guard, check_key
from edgekit.serving.model import Model, Turn
from edgekit.serving.protocol import Answer, Done, RequestError, event, failure
from edgekit.system.documents import JsonObject

T = TypeVar("T")
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
_ARRIVE, _TAKE = 10.0, 30.0  # seconds for a body to arrive, and for a client to take a piece
_ARRIVING = 64 * 2**20  # bytes of bodies that are not whole


class Server:
    """A model, its name, and the key that is asked for."""

    def __init__(self, model: Model, name: str, key: str = "") -> None:
        self.model, self.name, self.key = model, name, key
        self._bodies = Bodies()

    def application(self, local: bool = True, origins: Sequence[str] = ()) -> Starlette:
        """`local`, `origins`: see `Guard`."""
        routes = [
            Route("/health", self.health),
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.one_model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/v1/completions", self.complete, methods=["POST"]),
        ]
        middleware = [Middleware(Guard, local=local, origins=origins)]
        if origins:
            # A page may send what the clients of the protocol send; it may not send cookies, there are none.
            middleware.append(
                Middleware(
                    CORSMiddleware,
                    allow_origins=[o.rstrip("/") for o in origins],
                    allow_methods=["GET", "POST"],
                    allow_headers=["*"],
                )
            )
        handlers = {HTTPException: _no_route, EdgekitError: _failed, Exception: _bug}
        return Starlette(routes=routes, middleware=middleware, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        check_key(request.headers, self.key)
        return JSONResponse({"object": "list", "data": [self._entry()]})

    async def one_model(self, request: Request) -> Response:
        check_key(request.headers, self.key)
        name = request.path_params["name"]
        if name != self.name:
            raise RequestError(
                f"There is no model {name[:100]!r}",
                "",
                f"this server has {self.name}",
                param="model",
                status=404,
                code="model_not_found",
            )
        return JSONResponse(self._entry())

    def _entry(self) -> JsonObject:
        return {
            "id": self.name,
            "object": "model",
            "created": 0,
            "owned_by": "edgekit",
            "context_length": self.model.context_length,
        }

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, chat=False)

    async def _answer(self, request: Request, chat: bool) -> Response:
        check_key(request.headers, self.key)
        try:
            content = await self._bodies.read(request)
        except ClientDisconnect:
            return Response(status_code=499)
        turn, response = self.model.enter(), None  # the body is whole: no place is held by a slow one
        try:
            question = await run_in_threadpool(schema.read, content, chat)
            answer = Answer(self.name, chat)
            if question.stream:  # the first piece now: what is wrong is an error, not a broken stream
                first = await _unless_gone(request.receive, turn, lambda: _first(turn, question))
                if first is not None:
                    response = Events(turn, answer, first, question.totals)
                return response or Response(status_code=499)
            done = await _unless_gone(request.receive, turn, lambda: _whole(turn, question))
            return Response(status_code=499) if done is None else JSONResponse(answer.whole(*done))
        finally:
            if response is None:  # else it is still to be sent
                await turn.close()


class _Body:
    """One that is not whole yet."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.scope = anyio.CancelScope(deadline=anyio.current_time() + _ARRIVE)
        self.refused = False


class Bodies:
    """Bodies on their way: each has its time, and all of them so many bytes. Beyond these the largest is
    given up, so that who sends little is not refused for what others send."""

    def __init__(self) -> None:
        self._here: set[_Body] = set()
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """Raises RequestError, and ClientDisconnect."""
        said = request.headers.get("content-length", "")
        if said.isdecimal() and int(said[:20]) > schema.LARGEST:
            raise _too_large()
        body = _Body()
        self._here.add(body)
        try:
            with body.scope:
                async for chunk in request.stream():
                    self._take(body, chunk)
                    if body.refused:
                        break
                else:
                    return bytes(body.content)
        finally:
            self._drop(body)
        if body.refused:
            raise RequestError(
                "Too many large requests are on their way",
                f"more than {_ARRIVING} bytes",
                "try again later",
                status=429,
                code="rate_limit_exceeded",
                wait=math.ceil(_ARRIVE),
            )
        raise RequestError(f"The request took more than {_ARRIVE:g} seconds to arrive", status=408)

    def _take(self, body: _Body, chunk: bytes) -> None:
        if body.refused:  # its end is on its way to it
            return
        body.content += chunk
        self._held += len(chunk)
        if len(body.content) > schema.LARGEST:
            raise _too_large()
        if self._held > _ARRIVING:
            largest = max(self._here, key=lambda b: len(b.content))
            largest.refused = True
            self._drop(largest)
            largest.scope.cancel()

    def _drop(self, body: _Body) -> None:
        if body in self._here:
            self._here.remove(body)
            self._held -= len(body.content)
            body.content = bytearray()


def _too_large() -> RequestError:
    why = f"more than {schema.LARGEST} bytes"
    return RequestError("The request is too large", why, param="body", status=413)


class Events:
    """An answer piece by piece, as server-sent events. It ends the turn, however it ends itself."""

    def __init__(self, turn: Turn, answer: Answer, first: str | Done, totals: bool) -> None:
        self._turn, self._answer, self._first, self._totals = turn, answer, first, totals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await _unless_gone(receive, self._turn, lambda: self._send(send))
        finally:
            await self._turn.close()

    async def _send(self, send: Send) -> None:
        with contextlib.suppress(OSError, TimeoutError):  # the client left, or does not read
            await _within(_TAKE, send({"type": "http.response.start", "status": 200, "headers": _EVENTS}))
            async for text in self._texts():
                await _within(_TAKE, send({"type": "http.response.body", "body": text.encode(), "more_body": True}))
            await _within(_TAKE, send({"type": "http.response.body", "body": b""}))

    async def _texts(self) -> AsyncIterator[str]:
        line = self._first
        yield self._answer.piece("" if isinstance(line, Done) else line, first=True)
        try:
            while not isinstance(line, Done):
                line = await self._turn.line()
                if isinstance(line, str) and line:
                    yield self._answer.piece(line)
        except EdgekitError as error:
            yield event(failure(error)[1])
            return
        yield self._answer.end(line)
        if self._totals:
            yield self._answer.totals(line)
        yield event("[DONE]")


async def _within(seconds: float, work: Awaitable[None]) -> None:
    with anyio.fail_after(seconds):
        await work


async def _first(turn: Turn, question: schema.Question) -> str | Done:
    await turn.begin(question)
    return await turn.line()


async def _whole(turn: Turn, question: schema.Question) -> tuple[str, Done]:
    await turn.begin(question)
    texts = []
    while isinstance(line := await turn.line(), str):
        texts.append(line)
    return "".join(texts), line


async def _unless_gone(receive: Receive, turn: Turn, work: Callable[[], Awaitable[T]]) -> T | None:
    """What `work` gives, or None when the client left first: then the model has stopped as well."""
    result: T | None = None
    failed: EdgekitError | None = None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await turn.cancel()
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            result = await work()
        except EdgekitError as error:  # kept, because a group wraps what leaves it
            failed = error
        group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return result


def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, EdgekitError)
    status, content, headers = failure(error)
    return JSONResponse(content, status, headers)


def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:100]}: {error.detail}"
    status, content, _ = failure(RequestError(what, status=error.status_code))
    return JSONResponse(content, status, error.headers)


def _bug(request: Request, error: Exception) -> Response:
    """The trace goes to the server's own stderr, never to a client."""
    status, content, _ = failure(EdgekitError("The server failed", "its log says more"))
    return JSONResponse(content, status)
