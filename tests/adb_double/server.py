"""The double's side of the wire: one connection of adb's server, and the streams it opens."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable

from tests.adb_double.phone import Phone
from tests.adb_double.wire import (
    AUTH,
    CLSE,
    CNXN,
    MOST,
    OKAY,
    OPEN,
    PUBLIC_KEY,
    TOKEN,
    VERSION,
    WRTE,
    Message,
    read_message,
)

Service = Callable[["Stream", str], None]


class Stream:
    """Bytes both ways. A write waits until the last one was acknowledged, as the protocol wants it."""

    def __init__(self, connection: Connection, own: int, theirs: int) -> None:
        self._connection, self._own, self._theirs = connection, own, theirs
        self._ready = threading.Semaphore(1)
        self._filled = threading.Condition()
        self._buffer = bytearray()
        self.closed = False
        self.on_close: list[Callable[[], None]] = []

    def write(self, data: bytes) -> None:
        """Raises ConnectionError once the other side is gone."""
        for start in range(0, len(data), 2**16):
            self._ready.acquire()
            if self.closed:
                self._ready.release()
                raise ConnectionError("closed")
            self._connection.send(Message(WRTE, self._own, self._theirs, data[start : start + 2**16]))

    def read(self, count: int) -> bytes:
        """Raises ConnectionError when the other side closes first."""
        with self._filled:
            while len(self._buffer) < count and not self.closed:
                self._filled.wait()
            if len(self._buffer) < count:
                raise ConnectionError("closed")
            data = bytes(self._buffer[:count])
            del self._buffer[:count]
            return data

    def arrived(self, data: bytes) -> None:
        with self._filled:
            self._buffer += data
            self._filled.notify_all()
        self._connection.send(Message(OKAY, self._own, self._theirs))

    def acknowledged(self) -> None:
        self._ready.release()

    def close(self) -> None:
        """From this side."""
        if not self.closed:
            with contextlib.suppress(OSError):
                self._connection.send(Message(CLSE, self._own, self._theirs))
        self.lost()

    def lost(self) -> None:
        """From the other side, or with the connection."""
        with self._filled:
            first, self.closed = not self.closed, True
            self._filled.notify_all()
        self._ready.release()
        for call in self.on_close if first else []:
            call()


class Connection:
    def __init__(self, link: socket.socket, phone: Phone, services: dict[str, Service]) -> None:
        self.link, self.phone, self._services = link, phone, services
        self._lock = threading.Lock()
        self._streams: dict[int, Stream] = {}
        self._last = 0

    def serve(self) -> None:
        try:
            while True:
                self._handle(read_message(self.link))
        except OSError:
            pass
        finally:
            self.drop()

    def send(self, message: Message) -> None:
        with self._lock:
            self.link.sendall(message.packed())

    def drop(self) -> None:
        """As if somebody pulled the cable."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()
        for stream in list(self._streams.values()):
            stream.lost()

    def _handle(self, message: Message) -> None:
        if message.command == CNXN and self.phone.faults.unauthorised:
            self.send(Message(AUTH, TOKEN, 0, secrets.token_bytes(20)))
        elif message.command == CNXN:
            self.send(Message(CNXN, VERSION, MOST, self.phone.banner()))
        elif message.command == AUTH and message.first != PUBLIC_KEY:  # no signature is good enough
            self.send(Message(AUTH, TOKEN, 0, secrets.token_bytes(20)))
        elif message.command == OPEN and self.phone.faults.silent:
            return
        elif message.command == OPEN:
            self._open(message.first, message.payload.rstrip(b"\0").decode())
        elif stream := self._streams.get(message.second):
            if message.command == WRTE:
                stream.arrived(message.payload)
            elif message.command == OKAY:
                stream.acknowledged()
            elif message.command == CLSE:
                stream.lost()
                del self._streams[message.second]

    def _open(self, theirs: int, destination: str) -> None:
        name, _, words = destination.partition(":")
        service = self._services.get(",".join(name.split(",")[:2]))
        if service is None:
            self.send(Message(CLSE, 0, theirs))
            return
        self._last += 1
        stream = self._streams[self._last] = Stream(self, self._last, theirs)
        self.send(Message(OKAY, self._last, theirs))
        threading.Thread(target=self._run, args=(service, stream, words), daemon=True).start()

    def _run(self, service: Service, stream: Stream, words: str) -> None:
        with contextlib.suppress(OSError):
            service(stream, words)
        stream.close()


class Double:
    """Listens on a port of its own, as a phone does with debugging over the network."""

    def __init__(self, phone: Phone) -> None:
        from tests.adb_double.shell import Shell
        from tests.adb_double.sync import Sync

        self.phone = phone
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connections: list[Connection] = []
        self._services: dict[str, Service] = {"shell,v2": Shell(phone, self.unplug), "sync": Sync(phone, self.unplug)}
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def serial(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """As edgekit takes it."""
        return f"adb:{self.serial}"

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.phone.faults.offline:
                link.close()
                continue
            connection = Connection(link, self.phone, self._services)
            self._connections.append(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def unplug(self) -> None:
        """All connections end, and no more are taken up while `faults.offline`."""
        self.phone.faults.offline = True
        for connection in self._connections:
            connection.drop()
        self._connections.clear()

    def close(self) -> None:
        self.unplug()
        self._listener.close()
