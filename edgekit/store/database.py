"""The results database: raw samples in SQLite, in the user's data folder unless told otherwise."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from edgekit import settings
from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.record import Launch, launch_from_json, launch_to_json
from edgekit.errors import MissingError, guard
from edgekit.spec import from_json, to_json


@dataclass(frozen=True)
class Profile:
    """One package measured on one device, as stored."""

    id: int
    created: str
    session: str
    package: str
    manifest_sha256: str
    device: DeviceInfo
    plan: Plan
    command: str
    launches: tuple[Launch, ...]


_PATIENCE = 30  # seconds for others to finish writing


def default_path() -> Path:
    setting = settings.get("store").value
    return Path(setting) if setting else settings.data_folder() / "profiles.sqlite"


class Store:
    def __init__(self, path: Path | None = None) -> None:
        """Opens or creates the database and brings its schema up to date. Raises MissingError
        when the place cannot be written or holds something else."""
        self.path = path or default_path()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self.path, timeout=_PATIENCE)
            self._connection.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except (OSError, sqlite3.Error) as error:
            raise MissingError(
                f"The results database {self.path} cannot be opened",
                str(error),
                "choose another with --store FILE or EDGEKIT_STORE",
            ) from error

    def _migrate(self) -> None:
        folder = resources.files("edgekit.store") / "migrations"
        files = {int(f.name[:4]): f for f in folder.iterdir() if f.name.endswith(".sql")}
        if self._version() >= max(files):
            return  # the lock is for those that change something
        with self._connection as connection:  # commits all, or rolls all back
            connection.execute("BEGIN IMMEDIATE")
            done = self._version()  # only now can no other process be doing the same
            for number in sorted(n for n in files if n > done):
                for statement in _statements(files[number].read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._connection:  # commits, or rolls back on an error
                yield self._connection
        except sqlite3.Error as error:
            raise MissingError(
                f"The results database {self.path} cannot be written",
                str(error),
                "free some space, or choose another with --store FILE",
            ) from error

    def begin(
        self, session: str, package: str, manifest_sha256: str, device: DeviceInfo, plan: Plan, command: str
    ) -> int:
        """A new profile without launches; returns its id."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        row = (
            created,
            session,
            package,
            manifest_sha256,
            json.dumps(to_json(device)),
            json.dumps(to_json(plan)),
            command,
        )
        with self._write() as connection:
            cursor = connection.execute(
                "INSERT INTO profiles (created, session, package, manifest_sha256, device, plan, command)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def add_launch(self, profile: int, position: int, launch: Launch) -> None:
        """Stored at once, so that an interrupted session keeps what it measured."""
        with self._write() as connection:
            connection.execute(
                "INSERT INTO launches (profile_id, position, data) VALUES (?, ?, ?)",
                (profile, position, json.dumps(launch_to_json(launch))),
            )

    def for_package(self, manifest_sha256: str) -> list[Profile]:
        """Profiles of a package that have launches, newest first."""
        rows = self._connection.execute(
            "SELECT id, created, session, package, manifest_sha256, device, plan, command FROM profiles"
            " WHERE manifest_sha256 = ? AND id IN (SELECT profile_id FROM launches) ORDER BY id DESC",
            (manifest_sha256,),
        ).fetchall()
        return [self._profile(row) for row in rows]

    def _profile(self, row: tuple[int, str, str, str, str, str, str, str]) -> Profile:
        rows = self._connection.execute("SELECT data FROM launches WHERE profile_id = ? ORDER BY position", (row[0],))
        wrong = f"Measurement {row[0]} in the results database {self.path} cannot be read"
        with guard(MissingError, wrong, "choose another with --store FILE"):
            launches = tuple(launch_from_json(json.loads(data)) for (data,) in rows)
            device, plan = (from_json(DeviceInfo, json.loads(row[5])), from_json(Plan, json.loads(row[6])))
        return Profile(*row[:5], device, plan, row[7], launches)

    def close(self) -> None:
        self._connection.close()


def _statements(script: str) -> Iterator[str]:
    """One by one: `executescript` commits before it begins, and with that it gives the lock away."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
