"""A polite kill: what is unfinished goes, and the exit code is 128 and the signal's number."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

_GRACE = 5.0  # seconds to leave by the ordinary way


def ended_politely() -> None:
    """SIGTERM and SIGHUP end this process by an exception, so that all it has begun is cleaned up.

    One that is raised inside a callback of a native library is swallowed there, and some calls of such
    libraries take minutes: then the process ends without it. What it leaves, the next one sweeps.
    """
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP; nohup ignores it
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # whoever asks twice means it
    threading.Thread(target=_end_anyway, args=(128 + number,), daemon=True).start()
    sys.exit(128 + number)


def _end_anyway(code: int) -> None:
    time.sleep(_GRACE)
    os._exit(code)
