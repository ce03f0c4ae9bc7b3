"""Progress of long work on stderr: a bar on a terminal, a line now and then elsewhere.

EDGEKIT_QUIET leaves it out, EDGEKIT_VERBOSE says more (`--quiet` and `--verbose` of every verb set them)."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from edgekit.system.redaction import redact

T = TypeVar("T")
Progress = Callable[[str, int, int], None]  # what is being done, done so far, total

_PATIENCE = 10.0  # seconds between two lines on the same work
_begin = time.monotonic()
_started: dict[str, float] = {}
_shown: dict[str, float] = {}


def report(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` steps of `what` are finished. Quiet with EDGEKIT_QUIET."""
    if os.environ.get("EDGEKIT_QUIET"):
        return
    now = time.monotonic()
    start = _started.setdefault(what, now)
    finished = done >= total
    terminal = sys.stderr.isatty()
    pause = 0.1 if terminal else _PATIENCE
    if not finished and now - _shown.get(what, -pause) < pause:
        return
    _shown[what] = now
    spent = now - start
    left = f"{spent / done * (total - done):.0f} s left" if done and not finished else f"{spent:.0f} s"
    if terminal:
        filled = round(20 * done / max(total, 1))
        bar = "█" * filled + "·" * (20 - filled)
        sys.stderr.write(f"\r\x1b[K  {what:32.32} {bar} {done}/{total}  {left}")
        if finished:
            sys.stderr.write("\n")
    elif finished or done:
        sys.stderr.write(f"  {what} {done}/{total} ({left})\n")
    sys.stderr.flush()
    if finished:
        _started.pop(what, None)
        _shown.pop(what, None)


def track(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Iterate, reporting each finished item."""
    report(what, 0, total)
    for index, item in enumerate(items):
        yield item
        report(what, index + 1, total)


def note(text: str) -> None:
    """One line on stderr, unless EDGEKIT_QUIET; with the time since the start when EDGEKIT_VERBOSE."""
    if not os.environ.get("EDGEKIT_QUIET"):
        since = f"[{time.monotonic() - _begin:7.1f} s] " if os.environ.get("EDGEKIT_VERBOSE") else ""
        print(f"{since}{redact(text)}", file=sys.stderr, flush=True)


def detail(text: str) -> None:
    """What is only worth a line when EDGEKIT_VERBOSE."""
    if os.environ.get("EDGEKIT_VERBOSE"):
        note(f"  {text}")


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says `what`, and from time to time how long it has taken: for work that cannot be counted."""
    note(what)
    over = threading.Event()
    start = time.monotonic()

    def tell() -> None:
        while not over.wait(_PATIENCE):
            note(f"  {what}: {time.monotonic() - start:.0f} s so far")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
