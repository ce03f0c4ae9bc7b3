"""The socket, and the loop that ends when it is told to."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from functools import partial

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool

from edgekit.errors import UsageError
from edgekit.serving import connections
from edgekit.serving.model import Model

WAITING = 2048  # connections that the system holds until they are taken


def run(application: Starlette, model: Model, listening: socket.socket) -> None:
    """Until Ctrl-C or SIGTERM."""
    sys.setswitchinterval(0.001)  # large requests are read in threads; others are not to notice
    files = connections.file_limit()
    room = connections.Room(connections.most_connections(files))
    config = uvicorn.Config(
        application,
        http=partial(connections.Connection, room),
        ws="none",
        loop="asyncio",
        backlog=connections.accepted_at_once(files),
        timeout_keep_alive=connections.KEEP_ALIVE,
        log_level="warning",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    _Loop(config, model).run(sockets=[listening])


class _Loop(uvicorn.Server):  # type: ignore[misc]  # its types are not looked at
    """Cuts answers off when it is to end: it would wait for the last token of each."""

    def __init__(self, config: uvicorn.Config, model: Model) -> None:
        super().__init__(config)
        self._model = model

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(WAITING)  # the loop's `backlog` is how many it takes at once as well

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await run_in_threadpool(self._model.close)
        await super().shutdown(sockets)


@contextlib.contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket with its address, so that a model is not opened in vain; it does not listen yet."""
    # asyncio turns Nagle's delay off for sockets that say they are TCP: it would add 40 ms to answers.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listening:
        try:
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ":" in host:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind((host, port))
        except (OSError, UnicodeError) as error:
            why = str(getattr(error, "strerror", None) or error)
            raise UsageError(
                f"{host}:{port} cannot be listened on", why, "choose another --port, or 0 for any"
            ) from error
        yield listening
