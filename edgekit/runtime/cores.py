"""How many threads help: the physical, big cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path

from edgekit import settings

_CPU = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """The setting `threads` when the environment or the user's own file has it; else allowed cores, one thread for each
    physical core, only the big ones of a big.LITTLE chip, and no more than a container's CPU quota grants."""
    setting = settings.threads(folder=False)
    if setting:
        return setting
    allowed = allowed_cores()
    capacity = {c: _number(_CPU / f"cpu{c}/cpu_capacity") for c in allowed}
    best = max(capacity.values())
    # A little core in the pool holds the big ones back: every layer waits for the slowest.
    big = [c for c in allowed if capacity[c] * 2 >= best]
    physical = {_text(_CPU / f"cpu{c}/topology/thread_siblings_list") or str(c) for c in big}
    return max(1, min(len(physical), _quota() or len(physical)))


def allowed_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cpu_flags() -> frozenset[str]:
    """Instruction set extensions, as Linux names them; empty where it does not say."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = [line.partition(":")[2] for line in lines if line.startswith(("flags", "Features"))]
    return frozenset(flags[0].split()) if flags else frozenset()


def _quota() -> int:
    """Cores that the cgroup grants, rounded down but at least 1; 0 when it sets no limit."""
    limit, _, period = _text(Path("/sys/fs/cgroup/cpu.max")).partition(" ")
    if limit.isdigit() and period.isdigit() and int(period):
        return max(1, int(limit) // int(period))
    return 0


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _number(path: Path) -> int:
    text = _text(path)
    return int(text) if text.isdigit() else 0
