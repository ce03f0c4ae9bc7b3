"""What every source asks of a file: its hash, and a sensible error when it is not there."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgekit.errors import SourceError, UsageError


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_sha256(paths: list[Path]) -> str:
    """One hash for several files: of their names and hashes, in order of names."""
    lines = sorted(f"{p.name} {sha256(p)}" for p in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def existing_file(path: str) -> Path:
    found = Path(path)
    if not found.exists():
        raise UsageError(f"There is no file {path}", "", "check the path")
    if not found.is_file():
        raise UsageError(f"{path} is not a file", "", "pass the file itself")
    if found.stat().st_size == 0:
        raise SourceError(f"{found.name} is empty", "", "download or copy it again")
    return found
