"""Programs that end when the process that started them ends, however it does, kill -9 included.

    python -I -S tether.py tie PARENT COMMAND ...    becomes COMMAND (Linux)
    python -I -S tether.py guard FD COMMAND ...      runs COMMAND and ends all that came of it when FD closes
    python -I -S tether.py guard FD:30 COMMAND ...   or when nothing came from FD for 30 seconds: the other side of a
                                                     network may be gone without closing anything

edgekit's own long-lived processes watch their stdin instead; this is for those that must not be touched,
since they are measured, and for a user's. Standard library only; runs on its own, without edgekit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

_DEATH_SIGNAL, _SUBREAPER = 1, 36  # PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER of <sys/prctl.h>
_GRACE = 3.0  # seconds between asking and killing


def tied(command: Sequence[str]) -> list[str]:
    """`command` so that Linux kills it when the thread that starts it ends; elsewhere `command` itself.

    The process is `command`'s alone: nothing stays in it that a measurement would see.
    """
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", __file__, "tie", str(os.getpid()), *command]


def run_guarded(command: Sequence[str], environment: dict[str, str], stdout: int | None = None) -> int:
    """Runs `command` in this terminal and returns its exit code, as shells have it. It and what it
    started end when this process does. Raises OSError when there is no such command. For POSIX."""
    if shutil.which(command[0], path=environment.get("PATH")) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    there, here = os.pipe()
    try:
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, "guard", str(there), *command],
            env=environment,
            stdout=stdout,
            pass_fds=[there],
        )
    finally:
        os.close(there)
    try:
        code = guard.wait()
    finally:  # after Ctrl-C and SIGTERM, too
        os.close(here)
        guard.wait()
    return code if code >= 0 else 128 - code


def end_with(parent: int) -> None:
    """Linux kills this process when the thread of `parent` that started it ends."""
    _control(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os._exit(1)


def _tie(parent: int, command: Sequence[str]) -> None:
    end_with(parent)
    os.execvp(command[0], list(command))


def _guard(pipe: int, silence: float, command: Sequence[str]) -> int:
    _control(_SUBREAPER, 1)  # whatever loses its parent comes here, and is found
    process = subprocess.Popen(tied(command), stdin=subprocess.DEVNULL if pipe == 0 else None)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)  # the terminal sent it to COMMAND, too
    signal.signal(signal.SIGTERM, _stop)
    try:
        _wait(process, pipe, silence)
    except SystemExit:
        _end(process)
        raise
    if process.poll() is None:
        _end(process)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)


def _wait(process: subprocess.Popen[bytes], pipe: int, silence: float) -> None:
    """Waits until the process ends, the other end of the pipe closes or has been silent for so many seconds."""
    heard = time.monotonic()
    watched, seconds = [pipe], 0.1
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):  # an old kernel
            watched.append(os.pidfd_open(process.pid))
            seconds = 10.0
    while process.poll() is None:
        if pipe in select.select(watched, [], [], min(seconds, silence))[0]:
            if not os.read(pipe, 4096):
                return
            heard = time.monotonic()
        elif time.monotonic() - heard > silence:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends everything that descends from this process: asks, waits, kills."""
    until = time.monotonic() + _GRACE
    number = signal.SIGTERM
    while processes := _descendants(os.getpid()):
        for pid in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        while time.monotonic() < until and _descendants(os.getpid()):
            process.poll()  # else it stays among them
            time.sleep(0.02)
        if number == signal.SIGKILL and time.monotonic() > until + _GRACE:
            break  # what a kill does not end hangs in the kernel
        number = signal.SIGKILL
        time.sleep(0.02)
    process.wait()


def _descendants(root: int) -> list[int]:
    """Processes below `root` that run."""
    parents: dict[int, int] = {}
    if os.path.exists("/proc/self/stat"):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    status = file.read()
                state, parent = status[status.rindex(b")") + 2 :].split()[:2]
                if state not in (b"Z", b"X"):
                    parents[int(name)] = int(parent)
    else:
        listing = subprocess.Popen(
            ["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
        )
        rows = [line.split() for line in listing.communicate()[0].splitlines()]
        parents = {int(r[0]): int(r[1]) for r in rows if int(r[0]) != listing.pid}
    processes = [root]
    for one in processes:  # grows as it goes
        processes += [pid for pid, parent in parents.items() if parent == one and pid not in processes]
    return processes[1:]


def _control(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(ImportError, OSError, AttributeError):
            import ctypes

            rest = [ctypes.c_ulong(n) for n in (value, 0, 0, 0)]
            ctypes.CDLL(None).prctl(option, *rest)


if __name__ == "__main__":
    try:
        if sys.argv[1] == "tie":
            _tie(int(sys.argv[2]), sys.argv[3:])
        else:
            descriptor, _, limit = sys.argv[2].partition(":")
            sys.exit(_guard(int(descriptor), float(limit or "inf"), sys.argv[3:]))
    except OSError as error:
        sys.exit(f"{sys.argv[3]} cannot be run: {error}")
