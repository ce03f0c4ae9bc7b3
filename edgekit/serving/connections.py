"""Connections: how long one may ask for nothing, and how many there may be.

A process has so many file descriptors, and a connection takes one whether it asks or not. When there are as
many as there may be, one that waits for its client makes room: what is answered now is never cut off.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

KEEP_ALIVE = 5  # seconds without a byte between two requests
_HEADER = 10.0  # seconds for the whole header of a request
_TAKE = 35.0  # seconds for a client to take what it was sent; more than a piece of a stream may take
_MOST = 512


def file_limit() -> int | None:
    """How many files this process may open, or None where there is no limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def most_connections(files: int | None) -> int:
    """The rest is for the model, for what it loads, and for connections on their way in and out."""
    return _MOST if files is None else max(min(_MOST, files // 2), 1)


def accepted_at_once(files: int | None) -> int:
    """How many the event loop takes in one go: it takes some more before the first one is counted."""
    return 64 if files is None else max(min(64, files // 32), 1)


class Room:
    """The connections of a server, those that can be spared apart: in the order in which they began to wait.

    First go the ones that ask for nothing, then the ones whose request is still on its way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._here: set[Connection] = set()
        self._idle: dict[Connection, None] = {}
        self._arriving: dict[Connection, None] = {}

    def enter(self, new: Connection) -> bool:
        """False when it cannot stay, because each of the others is being answered."""
        if len(self._here) >= self._most:
            spared = next(iter(self._idle), None) or next(iter(self._arriving), None)
            if spared is None:
                return False
            self.leave(spared)
            spared.transport.abort()
        self._here.add(new)
        return True

    def leave(self, connection: Connection) -> None:
        self._here.discard(connection)
        self.works(connection)

    def waits(self, connection: Connection, arriving: bool = False) -> None:
        """For a request, or for the rest of one."""
        self.works(connection)
        if connection in self._here:
            (self._arriving if arriving else self._idle)[connection] = None

    def works(self, connection: Connection) -> None:
        """It is being answered."""
        self._idle.pop(connection, None)
        self._arriving.pop(connection, None)


class Connection(H11Protocol):  # type: ignore[misc]  # its types are not looked at
    """uvicorn's, which by itself waits for ever: for a first request, and for one that comes in crumbs."""

    def __init__(self, room: Room, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)
        self._room = room
        self._asked: Any = None  # the latest request that was seen
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if self._room.enter(self):
            self._wait()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._room.leave(self)
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if not self._answering():
            return
        if self._asked is not self.cycle:  # its header is complete
            self._asked = self.cycle
            self._disarm()
            self._room.waits(self, arriving=True)
        if not self.cycle.more_body:
            self._room.works(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._answering():  # else the next request was here already
            self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._arm(_TAKE)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._answering():
            self._disarm()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        """Until the next header is complete. What an answer's client has not taken yet takes its time."""
        self._room.waits(self)
        self._arm(_TAKE if self.transport.get_write_buffer_size() else _HEADER)

    def _arm(self, seconds: float) -> None:
        # Not `close`, which waits until the client has taken what it was sent.
        self._disarm()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
