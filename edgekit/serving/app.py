"""The HTTP side: routes, and answers that end when their client leaves."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeVar

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

T = TypeVar("T")
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
_ARRIVE, _TAKE = 20.0, 30.0  # seconds for a body to arrive, and for a client to take a piece


class Server:
    """A model, its name, and the key that is asked for."""

    def __init__(self, model: Model, name: str, key: str = "") -> None:
        self.model, self.name, self.key = model, name, key

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
            middleware.append(Middleware(CORSMiddleware, allow_origins=[o.rstrip("/") for o in origins],
                                         allow_methods=["GET", "POST"], allow_headers=["*"]))  # fmt: skip
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
            raise RequestError(f"There is no model {name[:100]!r}", "", f"this server has {self.name}",
                          param="model", status=404, code="model_not_found")  # fmt: skip
        return JSONResponse(self._entry())

    def _entry(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": 0, "owned_by": "edgekit",
                "context_length": self.model.context_length}  # fmt: skip

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, chat=True)

    async def complete(self, request: Request) -> Response:
        return await self._answer(request, chat=False)

    async def _answer(self, request: Request, chat: bool) -> Response:
        check_key(request.headers, self.key)
        turn, response = (
            self.model.enter(),
            None,
        )  # before the body is read: it has to be kept somewhere
        try:
            content = await _body(request)
            asked = await run_in_threadpool(schema.read, content, chat)
            answer = Answer(self.name, chat)
            if asked.stream:  # the first piece now: what is wrong is an error, not a broken stream
                first = await _unless_gone(request.receive, turn, lambda: _first(turn, asked))
                if first is not None:
                    response = Events(turn, answer, first, asked.totals)
                return response or Response(status_code=499)
            done = await _unless_gone(request.receive, turn, lambda: _whole(turn, asked))
            return Response(status_code=499) if done is None else JSONResponse(answer.whole(*done))
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            if response is None:  # else it is still to be sent
                await turn.close()


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
            await _within(
                _TAKE, send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
            )
            async for text in self._texts():
                await _within(
                    _TAKE,
                    send({"type": "http.response.body", "body": text.encode(), "more_body": True}),
                )
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


async def _first(turn: Turn, asked: schema.Asked) -> str | Done:
    await turn.begin(asked)
    return await turn.line()


async def _whole(turn: Turn, asked: schema.Asked) -> tuple[str, Done]:
    await turn.begin(asked)
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


async def _body(request: Request) -> bytes:
    said = request.headers.get("content-length", "")
    content = bytearray()
    try:
        with anyio.fail_after(_ARRIVE):
            if not (said.isdecimal() and int(said[:20]) > schema.LARGEST):
                async for chunk in request.stream():
                    content += chunk
                    if len(content) > schema.LARGEST:
                        break
                else:
                    return bytes(content)
    except TimeoutError as error:
        raise RequestError(
            f"The request took more than {_ARRIVE:g} seconds to arrive", status=408
        ) from error
    raise RequestError(
        "The request is too large", f"more than {schema.LARGEST} bytes", param="body", status=413
    )


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
