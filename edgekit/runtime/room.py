"""How much memory a package may take, where the process is edgekit's own. Standard library only."""

from __future__ import annotations

from pathlib import Path

from edgekit.package.folder import Package
from edgekit.system.child import limit_memory

_CONVERTING, _TIMES_CONVERTING = 8 * 2**30, 24
_SPARE, _TIMES, _CACHES = 4 * 2**30, 8, 3  # bytes, times the package's size, times what its model keeps while it runs


def bound_memory(package: Package) -> None:
    """From now on this process may take 4 GiB, 8 times the package and 3 times its KV cache beside what it
    holds, and never all that the machine has: a model of kilobytes can ask for any memory."""
    size = _SPARE + _TIMES * sum(f.bytes for f in package.manifest.files.values())
    limit_memory(at_most(size + _CACHES * package.manifest.model.working_bytes))


def room_to_convert(size: int) -> int:
    """Bytes that converting a source of `size` bytes may take: 8 GiB and 24 times as much."""
    return at_most(_CONVERTING + _TIMES_CONVERTING * size)


def size_of(source: Path) -> int:
    """Bytes of a file, or of the files in a folder."""
    if source.is_dir():
        return sum(f.stat().st_size for f in source.iterdir() if f.is_file())
    return source.stat().st_size if source.is_file() else 0


def at_most(size: int) -> int:
    """`size` bytes, or nine tenths of what this machine has free when that is less."""
    free = _free()
    return min(size, free * 9 // 10) if free else size


def _free() -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:")) * 1024
    except (OSError, StopIteration, ValueError):
        return 0
