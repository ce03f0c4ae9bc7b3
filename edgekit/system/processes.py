"""Which processes of which machine still run: what a name that is found later has to tell. Standard library only."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from pathlib import Path


@functools.cache
def place() -> str:
    """This machine, and who numbers its processes, in eight digits."""
    if sys.platform == "win32":
        facts = [os.environ.get("COMPUTERNAME", "")]
    else:
        facts = [os.uname().nodename]
    with contextlib.suppress(OSError):
        facts.append(Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip())
    with contextlib.suppress(OSError):
        facts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


@functools.cache
def boot() -> str:
    """The last start of this machine, in four digits."""
    with contextlib.suppress(OSError):
        identifier = Path("/proc/sys/kernel/random/boot_id").read_bytes()
        return hashlib.sha256(identifier).hexdigest()[:4]
    return "0000"


def alive(pid: int, start: int) -> bool:
    """Whether the process that began at `start` (0: not known) still runs."""
    now = began(pid)
    if now is not None:
        return start in (0, now)
    if os.name == "nt" or os.path.exists("/proc/self/stat"):
        return False
    try:  # a system that does not say when a process began
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


def began(pid: int) -> int | None:
    """When the process began, in units and from a time that the system chooses; None where that is not
    known, or when the process has ended and waits to be noticed."""
    if sys.platform == "win32":
        return _windows_start(pid)
    try:
        status = Path(f"/proc/{pid}/stat").read_bytes()
        fields = status[status.rindex(b")") + 2 :].split()  # the name before may hold anything
        return None if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, ValueError, IndexError):
        return None


def _windows_start(pid: int) -> int | None:
    """None when there is no such process. (`os.kill(pid, 0)` would end it.)"""
    if sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.OpenProcess.restype = wintypes.HANDLE
        kernel.OpenProcess.argtypes = (wintypes.DWORD, wintypes.BOOL, wintypes.DWORD)
        times = [wintypes.FILETIME() for _ in range(4)]
        kernel.GetProcessTimes.argtypes = (wintypes.HANDLE, *[ctypes.POINTER(wintypes.FILETIME)] * 4)
        kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
        handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return None
        try:
            known = kernel.GetProcessTimes(handle, *[ctypes.byref(t) for t in times])
            ended = times[1].dwHighDateTime or times[1].dwLowDateTime
            began = (times[0].dwHighDateTime << 32) | times[0].dwLowDateTime
            return began if known and not ended else None
        finally:
            kernel.CloseHandle(handle)
    return None
