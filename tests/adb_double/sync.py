"""The double's file service: STAT, LIST, RECV and SEND in their first versions, STAT and LIST in their second too."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

from tests.adb_double.phone import Phone
from tests.adb_double.server import Stream

_BLOCK = 2**16


class Sync:
    def __init__(self, phone: Phone, unplug: Callable[[], None]) -> None:
        self._phone, self._unplug = phone, unplug

    def __call__(self, stream: Stream, words: str) -> None:
        while True:
            name, length = struct.unpack("<4sI", stream.read(8))
            if name == b"QUIT":
                return
            path = stream.read(length).decode()
            time.sleep(self._phone.faults.slow_s)
            answer = {b"STAT": self._stat, b"STA2": self._stat2, b"LST2": self._stat2, b"LIST": self._list}
            answer |= {b"RECV": self._receive, b"SEND": self._send}
            if name not in answer:
                _fail(stream, f"unknown command {name!r}")
                return
            answer[name](stream, path)

    def _stat(self, stream: Stream, path: str) -> None:
        stream.write(b"STAT" + _fields(Path(self._phone.here(path))))

    def _stat2(self, stream: Stream, path: str) -> None:
        try:
            s = os.lstat(self._phone.here(path))
            values = (0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, 0, 0, s.st_size, 0, int(s.st_mtime), 0)
        except OSError as error:
            values = (error.errno or 1, *[0] * 10)
        stream.write(b"STA2" + struct.pack("<IQQIIIIQqqq", *values))

    def _list(self, stream: Stream, path: str) -> None:
        folder = Path(self._phone.here(path))
        for entry in sorted(folder.iterdir()) if folder.is_dir() else []:
            name = entry.name.encode()
            stream.write(b"DENT" + _fields(entry) + struct.pack("<I", len(name)) + name)
        stream.write(b"DONE" + bytes(16))

    def _receive(self, stream: Stream, path: str) -> None:
        try:
            data = Path(self._phone.here(path)).read_bytes()
        except OSError as error:
            _fail(stream, f"open failed: {error.strerror}")
            return
        for start in range(0, len(data), _BLOCK):
            block = data[start : start + _BLOCK]
            stream.write(b"DATA" + struct.pack("<I", len(block)) + block)
        stream.write(b"DONE" + bytes(4))

    def _send(self, stream: Stream, words: str) -> None:
        path, _, mode = words.rpartition(",")
        room, data, trouble = self._phone.faults.room_bytes, bytearray(), ""
        while True:
            name, length = struct.unpack("<4sI", stream.read(8))
            if name == b"DONE":
                break
            data += stream.read(length)
            if len(data) >= (self._phone.faults.unplugged_at_bytes or 2**60):
                self._unplug()
            if room is not None and len(data) > room and not trouble:
                trouble = "write failed: No space left on device"
                _fail(stream, trouble)  # at once; what still comes is read and thrown away
        if trouble:
            return
        place = Path(self._phone.here(path))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        except OSError as error:
            _fail(stream, f"couldn't create file: {error.strerror}")
            return
        place.chmod(int(mode) & 0o777)
        self._phone.sent.append(path)
        stream.write(b"OKAY" + bytes(4))


def _fields(path: Path) -> bytes:
    try:
        s = path.lstat()
    except OSError:
        return bytes(12)
    return struct.pack("<III", s.st_mode, s.st_size, int(s.st_mtime))


def _fail(stream: Stream, text: str) -> None:
    stream.write(b"FAIL" + struct.pack("<I", len(text.encode())) + text.encode())
