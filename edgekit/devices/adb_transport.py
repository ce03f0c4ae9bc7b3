"""How files and commands reach a phone: adb's server, by adbutils. Knows nothing of packages or launches.

The shell is version 2 of its protocol (Android 7), which keeps the exit code and what is printed as an error apart.
Files go by adb's sync service, spoken here: the library would wait for a dead phone for ever, and drops the reason why a
file was refused.
"""

from __future__ import annotations

import shlex
import socket
import stat
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.devices.adb_server import lost, refused, silent
from edgekit.devices.base import Finished
from edgekit.errors import DeviceError

if TYPE_CHECKING:
    from adbutils import AdbConnection, AdbDevice

_STDOUT, _STDERR, _EXIT = 1, 2, 3
_MOST_PRINTED = 2**24  # bytes a command may print
_MOST_PACKET = 2**24
_MOST_FILE = 2**32  # bytes of a file that is fetched
_BLOCK = 2**16  # bytes, the most that sync takes at once
_PATIENCE = 60.0  # seconds without a byte while a file is on its way

# When the connection is lost, adbd sends SIGHUP to the shell alone, and whatever that started goes on. Should adbd
# itself end (the cable changes what the phone is for), nobody gets a signal, but the input of the shell ends. `setsid`
# gives the command a group of processes, which ends as one.
_TETHER = """exec 3<&0
$(command -v setsid) {command} </dev/null 3<&- &
job=$!
end() {{ kill -9 -$job || kill -9 $job; }} 2>/dev/null
{{ read -r line; end; }} <&3 >/dev/null 2>&1 &
guard=$!
exec 3<&-
trap end HUP INT TERM
wait $job
code=$?
kill -9 $guard 2>/dev/null
exit $code"""


class AdbTransport:
    python = ""  # the shell of a phone has none

    def __init__(self, device: AdbDevice, place: str) -> None:
        """`place`: the phone as messages name it."""
        self._device, self.place = device, place

    def put(self, local: Path, remote: str) -> None:
        for path in sorted(local.rglob("*")) if local.is_dir() else [local]:
            if path.is_file():
                self._send(path, remote if path == local else f"{remote}/{path.relative_to(local).as_posix()}")

    def get(self, remote: str, local: Path) -> None:
        """Raises DeviceError, for a folder too."""
        try:
            self._receive(remote, local)
        except BaseException:
            local.unlink(missing_ok=True)
            raise

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        words = [*(["env", *(f"{n}={v}" for n, v in environment.items())] if environment else []), *command]
        return self.ask(_TETHER.format(command=shlex.join(words)), timeout_s)

    def ask(self, script: str, timeout_s: float | None) -> Finished:
        """Runs a script of the phone's shell. Raises as `run`."""
        end = time.monotonic() + timeout_s if timeout_s is not None else None
        printed = {_STDOUT: bytearray(), _STDERR: bytearray()}
        with self._opened(f"shell,v2,raw:{script}", timeout_s) as link:
            while True:
                if end is not None:
                    link.settimeout(max(end - time.monotonic(), 0.001))
                try:
                    kind, length = struct.unpack("<BI", _exactly(link, 5))
                    data = _exactly(link, length) if length <= _MOST_PACKET else b""
                except TimeoutError as error:
                    raise DeviceError(f"A process on {self.place} took more than {timeout_s:g} seconds") from error
                if length > _MOST_PACKET or sum(map(len, printed.values())) + len(data) > _MOST_PRINTED:
                    raise DeviceError(f"A process on {self.place} printed more than {_MOST_PRINTED >> 20} MB")
                if kind == _EXIT and data:
                    output, errors = (printed[k].decode("utf-8", "replace") for k in (_STDOUT, _STDERR))
                    return Finished(data[0], output, errors)
                if kind in printed:
                    printed[kind] += data

    def _receive(self, remote: str, local: Path) -> None:
        with self._sync(b"RECV", remote) as link, local.open("wb") as file:
            received = 0
            while True:
                name, length = _answer(link)
                if name == b"DONE":
                    return
                if name != b"DATA" or length > _BLOCK:
                    raise self._unreadable(remote, link, name, length)
                received += length
                if received > _MOST_FILE:
                    raise DeviceError(f"{remote} on {self.place} has more than {_MOST_FILE} bytes")
                file.write(_exactly(link, length))

    def _send(self, path: Path, remote: str) -> None:
        size = path.stat().st_size
        with self._sync(b"SEND", f"{remote},{stat.S_IFREG | 0o755}") as link, path.open("rb") as file:
            try:
                while block := file.read(_BLOCK):
                    link.sendall(b"DATA" + struct.pack("<I", len(block)) + block)
                link.sendall(b"DONE" + struct.pack("<I", int(path.stat().st_mtime) & 0xFFFFFFFF))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the phone may have said why
            name, length = _answer(link)
            if name != b"OKAY":
                raise self._unreadable(remote, link, name, length, f"it has {size} bytes")

    def _unreadable(self, remote: str, link: socket.socket, name: bytes, length: int, more: str = "") -> DeviceError:
        if name != b"FAIL":
            return DeviceError(f"{self.place} answers what adb does not know", repr(name), "update adb")
        why = _exactly(link, min(length, 1000)).decode("utf-8", "replace")
        full = "No space left" in why
        return DeviceError(
            f"The disk of {self.place} is full" if full else f"{remote} cannot be copied to or from {self.place}",
            "; ".join(filter(None, (why, more))),
            "free some space there; edgekit devices clean ADDRESS removes what edgekit left" if full else "",
        )

    @contextmanager
    def _sync(self, name: bytes, path: str) -> Iterator[socket.socket]:
        with self._opened("sync:", _PATIENCE) as link:
            words = path.encode("utf-8")
            link.sendall(name + struct.pack("<I", len(words)) + words)
            try:
                yield link
            except TimeoutError as error:
                raise silent(self.place, _PATIENCE) from error

    @contextmanager
    def _opened(self, service: str, timeout_s: float | None) -> Iterator[socket.socket]:
        from adbutils.errors import AdbError, AdbTimeout

        patience = min(timeout_s or _PATIENCE, _PATIENCE)
        connection: AdbConnection | None = None
        try:
            connection = self._device.open_transport(timeout=patience)
            connection.send_command(service)
            connection.check_okay()
            connection.conn.settimeout(timeout_s)
            yield connection.conn
        except AdbTimeout as error:
            raise silent(self.place, patience) from error
        except AdbError as error:
            raise refused(self.place, str(error)) from error
        except (EOFError, ConnectionError) as error:
            raise lost(self.place) from error
        finally:
            if connection:
                connection.close()


def _answer(link: socket.socket) -> tuple[bytes, int]:
    """The name and the number that each answer of the sync service begins with."""
    name, length = struct.unpack("<4sI", _exactly(link, 8))
    return name, length


def _exactly(link: socket.socket, count: int) -> bytes:
    """Raises EOFError when the phone closes first, TimeoutError."""
    data = bytearray()
    while len(data) < count:
        part = link.recv(min(count - len(data), _BLOCK))
        if not part:
            raise EOFError
        data += part
    return bytes(data)
