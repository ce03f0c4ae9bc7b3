"""Messages between adb's server and a device: a header of 24 bytes and a payload, little endian."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(n, "little") for n in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
VERSION = 0x01000001  # from which on payloads carry no checksum
MOST = 2**20  # bytes of a payload
TOKEN, SIGNATURE, PUBLIC_KEY = 1, 2, 3  # what an AUTH message carries
_HEADER = struct.Struct("<6I")


@dataclass(frozen=True)
class Message:
    command: int
    first: int
    second: int
    payload: bytes = b""

    def packed(self) -> bytes:
        head = (self.command, self.first, self.second, len(self.payload), 0, self.command ^ 0xFFFFFFFF)
        return _HEADER.pack(*head) + self.payload


def read_exactly(link: socket.socket, count: int) -> bytes:
    """Raises ConnectionError when the other side closes first."""
    parts, missing = [], count
    while missing:
        part = link.recv(min(missing, 2**16))
        if not part:
            raise ConnectionError("closed")
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)


def read_message(link: socket.socket) -> Message:
    """Raises ConnectionError at the end, and for what is no message."""
    command, first, second, length, _, magic = _HEADER.unpack(read_exactly(link, _HEADER.size))
    if magic != command ^ 0xFFFFFFFF or length > MOST:
        raise ConnectionError("not a message of adb")
    return Message(command, first, second, read_exactly(link, length))
