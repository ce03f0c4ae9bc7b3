"""The run that is killed: a command line of edgekit that counts its own writes, and dies at one.

    python -P child.py PLACE NUMBER DELAY EVENTS EXCHANGE COMMAND ...

Writes are files opened for writing below PLACE, renames, removals, fsync, statements of SQLite and processes
that are started. It kills itself DELAY seconds after the NUMBER-th began (0: never), and else writes their
names to EVENTS. EXCHANGE "without": as on a file system that exchanges no names.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WATCHED = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "subprocess.Popen")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def child(options: Sequence[str], arguments: list[str]) -> None:
    """Runs a command line; writes the names of its writes, or dies at one."""
    place, number, delay, events, exchange = (options[0], int(options[1]), float(options[2]), options[3], options[4])
    seen: list[str] = []

    def happened(what: str) -> None:
        seen.append(what)
        if len(seen) != number:
            return
        if delay:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        else:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(given[0], str) and given[0].startswith(place) and (given[2] or 0) & _WRITING:
                happened(f"open {given[0]}")
        elif event in _WATCHED:
            below = any(isinstance(g, (str, bytes)) and os.fsdecode(g).startswith(place) for g in given)
            by_handle = event in ("os.remove", "os.rmdir") and given[1] != -1
            if below or by_handle or event == "subprocess.Popen":
                happened(f"{event} {given[0]!r}")

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *rest: Any) -> sqlite3.Cursor:  # type: ignore[override]
            happened(f"sqlite {sql[:40]}")
            return super().execute(sql, *rest)

        def __exit__(self, *error: Any) -> Any:
            happened("sqlite commit")
            return super().__exit__(*error)

    fsync, connect = os.fsync, sqlite3.connect

    def counted_fsync(handle: int) -> None:
        happened("fsync")
        fsync(handle)

    os.fsync = counted_fsync
    sqlite3.connect = lambda *a, **k: connect(*a, factory=Connection, **k)  # type: ignore[assignment]
    if exchange == "without":
        import errno

        from edgekit.package import atomic

        def cannot(one: Path, other: Path) -> None:
            raise OSError(errno.EINVAL, "this file system exchanges nothing")

        if hasattr(atomic, "exchange"):
            atomic.exchange = cannot
    from edgekit.cli.main import main

    sys.addaudithook(hook)
    try:
        main(arguments)
    finally:
        number = -1
        Path(events).write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    child(sys.argv[1:6], sys.argv[6:])
