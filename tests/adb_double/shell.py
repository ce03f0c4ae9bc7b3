"""The double's shell, version 2 of its protocol: commands run for real, by this machine's `sh`, apart from a terminal.

When the stream ends before the command does, the shell gets SIGHUP and its pipes are closed, as adbd does it: what the
shell started is on its own.
"""

from __future__ import annotations

import contextlib
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from typing import IO

from tests.adb_double.phone import Phone
from tests.adb_double.server import Stream

STDIN, STDOUT, STDERR, EXIT, CLOSE_STDIN = range(5)


class Shell:
    def __init__(self, phone: Phone, unplug: Callable[[], None]) -> None:
        self._phone, self._unplug = phone, unplug

    def __call__(self, stream: Stream, command: str) -> None:
        phone = self._phone
        phone.commands.append(command)
        time.sleep(phone.faults.slow_s)
        process = subprocess.Popen(
            ["sh", "-c", phone.here(command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=phone.folder,
            env=phone.environment(),
        )
        stream.on_close.append(lambda: _hang_up(process))
        assert process.stdin and process.stdout and process.stderr
        threading.Thread(target=_feed, args=(stream, process.stdin), daemon=True).start()
        pumps = [
            threading.Thread(target=_pump, args=(stream, number, pipe), daemon=True)
            for number, pipe in ((STDOUT, process.stdout), (STDERR, process.stderr))
        ]
        for pump in pumps:
            pump.start()
        if phone.faults.unplugged_by and phone.faults.unplugged_by in command:
            time.sleep(0.3)  # it has started
            self._unplug()
        for pump in pumps:
            pump.join()
        code = process.wait()
        with contextlib.suppress(OSError):
            stream.write(_packet(EXIT, bytes([code if code >= 0 else 128 - code])))


def _packet(kind: int, data: bytes) -> bytes:
    return struct.pack("<BI", kind, len(data)) + data


def _pump(stream: Stream, kind: int, pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := pipe.read1(2**15):  # type: ignore[attr-defined]
            stream.write(_packet(kind, data))


def _feed(stream: Stream, pipe: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while True:
            kind, length = struct.unpack("<BI", stream.read(5))
            data = stream.read(length)
            if kind == STDIN:
                pipe.write(data)
                pipe.flush()
            elif kind == CLOSE_STDIN:
                pipe.close()


def _hang_up(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGHUP)
    with contextlib.suppress(OSError, ValueError):
        process.stdin.close()  # type: ignore[union-attr]
