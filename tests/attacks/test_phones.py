"""Phones that lie: what goes wrong on the wire ends in one error, in bounded memory and time."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from edgekit.devices import adb_transport
from edgekit.devices.adb_transport import AdbTransport
from edgekit.devices.android import ask
from edgekit.errors import DeviceError


class Stranger:
    """In place of adbutils' device: sends these bytes, over and over with `endless`, and reads what comes."""

    def __init__(self, said: bytes, endless: bool = False, stays: bool = False) -> None:
        self._said, self._endless, self._stays = said, endless, stays

    def open_transport(self, timeout: float | None = None) -> Stranger:
        self.conn, self._other = socket.socketpair()
        self.conn.settimeout(timeout)
        threading.Thread(target=self._speak, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def _speak(self) -> None:
        try:
            self._other.sendall(self._said)
            while self._endless:
                self._other.sendall(self._said)
            if not self._stays:
                self._other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def _listen(self) -> None:
        try:
            while self._other.recv(2**16):
                pass
        except OSError:
            pass

    def send_command(self, service: str) -> None:
        self.service = service

    def check_okay(self) -> None: ...

    def close(self) -> None:
        self.conn.close()
        self._other.close()


def transport(said: bytes, **more: bool) -> AdbTransport:
    pytest.importorskip("adbutils")
    stranger: Any = Stranger(said, **more)
    return AdbTransport(stranger, "the phone")


def packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


@pytest.mark.parametrize(
    ("said", "endless", "words"),
    [
        (b"", False, "was lost"),
        (packet(1, b"x" * 100)[:50], False, "was lost"),
        (struct.pack("<BI", 1, 2**31), False, "printed more than"),
        (packet(1, b"x" * 60_000), True, "printed more than"),
        (packet(2, b"x" * 60_000), True, "printed more than"),
        (packet(1, b""), True, "took more than"),
        (packet(9, b"unknown"), True, "took more than"),
        (packet(3, b""), False, "was lost"),
    ],
)
def test_a_shell_that_says_anything(said: bytes, endless: bool, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        transport(said, endless=endless).run(["true"], {}, 0.5 if "took" in words else 60)


def test_a_phone_that_says_nothing() -> None:
    with pytest.raises(DeviceError, match="took more than"):
        transport(b"", stays=True).run(["true"], {}, 0.2)


def test_what_it_prints_need_not_be_text() -> None:
    done = transport(packet(1, b"\xff\x00") + packet(3, b"\x07")).run(["true"], {}, 2)
    assert (done.code, done.output) == (7, "\ufffd\x00")


def test_a_phone_that_is_none() -> None:
    said = packet(1, b"\x1b[2J" + os.urandom(1000)) + packet(3, b"\0")
    with pytest.raises(DeviceError, match="does not answer as Android") as refusal:
        ask(transport(said), 2)
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    ("said", "endless", "words"),
    [
        (b"", False, "was lost"),
        (b"DATA" + struct.pack("<I", 2**31), False, "does not know"),
        (b"DATA" + struct.pack("<I", 9) + b"short", False, "was lost"),
        (b"DATA" + struct.pack("<I", 60_000) + bytes(60_000), True, "has more than"),
        (b"FAIL" + struct.pack("<I", 2**32 - 1) + b"x" * 5000, False, "cannot be copied"),
        (b"what is that?", False, "does not know"),
    ],
)
def test_a_file_service_that_says_anything(
    said: bytes, endless: bool, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adb_transport, "_MOST_FILE", 10**6)
    with pytest.raises(DeviceError, match=words):
        transport(said, endless=endless).get("/data/file", tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_a_phone_that_stops_taking_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adb_transport, "_PATIENCE", 0.2)
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(DeviceError, match="does not answer"):
        transport(b"", stays=True).put(tmp_path / "file", "/data/file")
