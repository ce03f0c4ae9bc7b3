"""Who may ask at all: the names this server answers to, the pages that may call it, and the key."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edgekit.serving.protocol import RequestError, failure


def is_loopback(name: str) -> bool:
    """Whether a host, without its port, is this machine and nothing but it."""
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Refuses what comes from a page that is not this server's, before anything is read.

    A page elsewhere reaches a server on loopback in two ways: by a name of its own that resolves to here
    (the Host says so), or by a request that browsers send without asking first (the Origin says so, and
    its content type is not JSON). `local`: bound to loopback. `origins`: pages that are allowed, "*" all.
    """

    def __init__(self, app: ASGIApp, local: bool = True, origins: Sequence[str] = ()) -> None:
        self._app, self._local = app, local
        self._origins = {o.rstrip("/").lower() for o in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(Headers(scope=scope), scope["method"])
            except RequestError as refusal:
                await answer_error(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, headers: Headers, method: str) -> None:
        host = headers.get("host", "")
        if self._local and not is_loopback(_name(host)):
            raise RequestError(
                f"This server does not answer to the host {host[:100]!r}",
                "it is bound to this machine",
                "use its own address",
                param="host",
            )
        origin = headers.get("origin")
        if origin is not None and not self._may(origin.lower(), host.lower()):
            raise RequestError(
                f"A page of {origin[:100]!r} may not ask this server",
                "",
                "start it with --cors-origin if it may",
                param="origin",
                status=403,
            )
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method == "POST" and kind != "application/json":
            raise RequestError(f"The content type {kind[:100]!r} is not application/json", param="content-type")

    def _may(self, origin: str, host: str) -> bool:
        if "*" in self._origins or origin in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            name = parts.hostname or ""
        except ValueError:
            return False
        web = parts.scheme in ("http", "https")
        return web and (parts.netloc == host or (self._local and is_loopback(name)))


def check_key(headers: Headers, key: str) -> None:
    """Raises RequestError when `key` is asked for and not given."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if key and not (
        scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), key.encode("utf-8"))
    ):
        raise RequestError("The key is missing or wrong", status=401, code="invalid_api_key")


async def answer_error(refusal: RequestError, scope: Scope, receive: Receive, send: Send) -> None:
    from starlette.responses import JSONResponse

    status, content, headers = failure(refusal)
    await JSONResponse(content, status, headers)(scope, receive, send)


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
