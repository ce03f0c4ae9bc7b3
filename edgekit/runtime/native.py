"""What native libraries print, kept from the user's terminal and from documents on stdout."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_ONE_AT_A_TIME = threading.RLock()  # two threads would put each other's streams back


@contextlib.contextmanager
def output_to(path: str | Path = os.devnull, streams: tuple[int, ...] = (1, 2)) -> Iterator[None]:
    """While the block runs, `streams` (1: output, 2: errors) go to the file at `path`: native code
    writes to the descriptors themselves. A stream that is closed stays so."""
    with _ONE_AT_A_TIME:
        if 1 in streams:
            _empty()
        copies = {number: copy for number in streams if (copy := _copy(number)) is not None}
        try:
            with open(path, "wb") as file:
                for number in copies:
                    os.dup2(file.fileno(), number)
                yield
        finally:
            if 1 in streams:
                _empty()
            for number, copy in copies.items():
                os.dup2(copy, number)
                os.close(copy)


def _empty() -> None:
    """C keeps what is written to an output that is no terminal, and would write it once the stream is back."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        _library().fflush(None)


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL("ucrtbase" if sys.platform == "win32" else None)


def _copy(number: int) -> int | None:
    try:
        stream = {1: sys.stdout, 2: sys.stderr}[number]
        if stream is not None:  # None in a service
            stream.flush()
        return os.dup(number)
    except (OSError, ValueError):
        return None
