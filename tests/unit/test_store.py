"""The results database, opened by several processes at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit.devices.record import launch_from_json, launch_to_json
from edgekit.errors import MissingError
from edgekit.runtime.measuring import TextTimings
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


BEFORE = {  # as launches were stored before they were records
    "samples_s": {"prepare": [0.001], "run": [0.02], "finish": [0.003]},
    "cold_load_s": 0.2,
    "warm_load_s": 0.1,
    "first_run_s": 0.03,
    "peak_memory_bytes": 1000,
    "threads": 2,
    "engine": "onnxruntime 1.32.0",
    "cold_is_cold": True,
    "host": {"busy_before": 0.5, "before": {"load_1min": 1.0}, "after": {}, "warning": "other work"},
    "text": {},
}
OF_TEXT = {
    **BEFORE,
    "samples_s": {"run": [0.02]},
    "text": {"prompt_tokens": 126, "prompt_s": [0.1, 0.2], "depth": 111, "deep_s": []},
}
OF_SERVICE = {
    **BEFORE,
    "host": {
        "job": "j1",
        "url": "https://hub.example/j1",
        "emulated": True,
        "layers": [{"name": "conv", "compute_unit": "NPU", "time": 3}],
        "compute_units": {"NPU": 1},
        "memory": {"inference": [1, 2]},
    },
}


def test_launches_stored_before_are_read() -> None:
    detector, text, service = map(launch_from_json, (BEFORE, OF_TEXT, OF_SERVICE))
    assert detector.text is None and detector.host.warning == "other work" and detector.host.busy_before == 0.5
    assert detector.totals() == [pytest.approx(0.024)]
    assert text.text == TextTimings(126, [0.1, 0.2], 111, [])
    assert service.host.emulated and service.host.memory == {"inference": [1, 2]}
    assert service.host.layers == [{"name": "conv", "compute_unit": "NPU", "time": 3}]


@pytest.mark.parametrize("data", [BEFORE, OF_TEXT, OF_SERVICE])
def test_launches_are_stored_as_they_were(data: dict[str, Any]) -> None:
    stored = launch_to_json(launch_from_json(data))
    assert {**stored, "host": {"after": {}, **stored["host"]}} == {**data, "host": {"after": {}, **data["host"]}}


def test_what_another_version_says_is_kept_apart() -> None:
    data = {**BEFORE, "energy_j": 3.5, "host": {**BEFORE["host"], "humidity": 0.4}}
    launch = launch_from_json(data)
    assert launch.others == {"energy_j": 3.5}
    assert launch_to_json(launch)["energy_j"] == 3.5
    del data["engine"]
    with pytest.raises(ValueError, match="engine"):
        launch_from_json(data)
