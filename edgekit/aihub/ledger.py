"""What was sent to AI Hub and is under way there, on disk: a killed run finds it again.

One small file an entry, named by the hash of everything that makes it what it is. An entry is
written before something is asked for ("begun") and again when its id is known ("known").
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit import settings
from edgekit.errors import MissingError
from edgekit.package import canonical

_LIFETIME = 90 * 24 * 3600  # seconds; AI Hub keeps datasets for a month, models for longer


@dataclass(frozen=True)
class Entry:
    """`id` is AI Hub's, "" while it is not known whether the service took it."""

    key: str
    what: str
    id: str = ""
    time: float = 0.0


class Ledger:
    def __init__(self, folder: Path | None = None) -> None:
        """Raises MissingError when the place cannot be written."""
        self.folder = folder or settings.data_folder() / "aihub-ledger"
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise self._unwritable(error) from error

    def find(self, key: str) -> Entry | None:
        try:
            return Entry(**json.loads(self._path(key).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # absent, or of another edgekit: as if never written
            return None

    def begin(self, key: str, what: str) -> None:
        self._write(Entry(key, what, "", time.time()))

    def known(self, key: str, what: str, id: str) -> None:
        self._write(Entry(key, what, id, time.time()))

    def forget(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"

    def _write(self, entry: Entry) -> None:
        try:
            with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=self.folder, delete=False) as file:
                json.dump(asdict(entry), file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, self._path(entry.key))
            self._forget_old()
        except OSError as error:
            raise self._unwritable(error) from error

    def _forget_old(self) -> None:
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another process may be removing it
                if time.time() - path.stat().st_mtime > _LIFETIME:
                    path.unlink()

    def _unwritable(self, error: OSError) -> MissingError:
        return MissingError(
            f"What is under way at AI Hub cannot be noted in {self.folder}",
            str(error.strerror or error),
            "free some space; without it a stopped run could not be continued",
        )


def key(**parts: object) -> str:
    return hashlib.sha256(canonical(parts)).hexdigest()[:32]
