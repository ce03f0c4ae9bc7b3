"""The results database, opened by several processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import MissingError
from edgekit.store import database
from edgekit.store.database import Store

OPEN = """
import sys, time
from pathlib import Path
from edgekit.devices.base import DeviceInfo, Plan
from edgekit.store.database import Store
print("ready", flush=True)
for path in map(str.strip, sys.stdin):
    store = Store(Path(path))
    store.begin("s", "p", "m", DeviceInfo("d", "c", "s", 1, 1, {}), Plan(1, 1, 1.0, None), "c")
    store.close()
    print("opened", flush=True)
"""


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        for _ in range(8)
    ]
    try:
        for process in processes:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
        for turn in range(20):
            path = tmp_path / f"{turn}.sqlite"
            for process in processes:
                assert process.stdin is not None
                process.stdin.write(f"{path}\n")
                process.stdin.flush()
            for process in processes:
                assert process.stdout is not None and process.stdout.readline() == "opened\n"
            with sqlite3.connect(path) as connection:
                assert connection.execute("SELECT count(*) FROM profiles").fetchone() == (8,)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_a_migration_is_made_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(script: str) -> list[str]:
        return [*known(script), "CREATE TABLE profiles (id)"]

    known = database._statements
    monkeypatch.setattr(database, "_statements", broken)
    with pytest.raises(MissingError, match="cannot be opened"):
        Store(tmp_path / "s.sqlite")
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    monkeypatch.setattr(database, "_statements", known)
    Store(tmp_path / "s.sqlite").close()


def test_a_store_that_is_up_to_date_is_opened_while_another_writes(tmp_path: Path) -> None:
    Store(tmp_path / "s.sqlite").close()
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute("BEGIN IMMEDIATE")
        Store(tmp_path / "s.sqlite").close()


def test_statements_are_cut_where_sqlite_ends_them() -> None:
    script = (
        "CREATE TABLE a (x TEXT DEFAULT ';'); -- one;\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\nDELETE FROM a;\nEND;\n"
    )
    connection = sqlite3.connect(":memory:")
    for statement in database._statements(script):
        connection.execute(statement)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (2,)
