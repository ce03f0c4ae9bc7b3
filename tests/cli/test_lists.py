"""targets, backends, devices, doctor, and where a setting comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit import registry
from tests.cli.commands import Edgekit


def test_targets(edgekit: Edgekit) -> None:
    (cpu,) = [t for t in edgekit("targets", "--json").json["targets"] if t["name"] == "cpu"]
    assert cpu["precisions"] == ["fp32", "w8a8"]
    assert cpu["tolerance"]["map_drop"] == 0.005
    shown = edgekit("targets").out
    assert "cpu" in shown and "fp32 w8a8" in shown and "Your own: a TOML in" in shown
    assert "language models for" in shown and "w4 w8 fp32 fp16 ternary" in shown


def test_backends(edgekit: Edgekit) -> None:
    found = {b["name"]: b for b in edgekit("backends", "--json").json["backends"]}
    assert list(found) == registry.names("backends")
    assert found["onnxruntime"]["ready"] and found["onnxruntime"]["versions"]
    assert "onnxruntime" in edgekit("backends").out


def test_devices(edgekit: Edgekit) -> None:
    found = edgekit("devices", "--json").json["devices"]
    assert list(found) == registry.names("devices")
    assert found["local"]["cores"] >= 1
    shown = edgekit("devices").out
    assert all(name in shown for name in found)


def test_doctor_says_what_is_ready(edgekit: Edgekit) -> None:
    found = edgekit("doctor", "--json").json
    devices = {"adb", "aihub", "ssh", "web"}
    extras = {"runtime", "litert", "genai", "images", "convert", "llm", "tflite", "qnn", "serve", "report", *devices}
    assert found["missing"].keys() == extras
    # AI Hub's client has an environment of its own, which need not be there
    assert not [e for e, missing in found["missing"].items() if missing and e != "aihub"]
    assert set(found["backends"]) == set(registry.names("backends"))
    shown = edgekit("doctor").out
    for word in ("edgekit 0.", "backend onnxruntime", "ready", "EDGEKIT_STORE", "config"):
        assert word in shown


@pytest.fixture
def nothing_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder where no setting is made; returns it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("STORE", "CACHE", "THREADS"):
        monkeypatch.delenv(f"EDGEKIT_{name}", raising=False)
    (tmp_path / "config").mkdir()
    return tmp_path


def setting(edgekit: Edgekit, name: str) -> tuple[str, str]:
    found: dict[str, Any] = edgekit("doctor", "--json").json["settings"][name]
    return found["value"], found["origin"]


def test_options_beat_the_environment_which_beats_files(
    edgekit: Edgekit, nothing_set: Path, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert setting(edgekit, "store") == ("", "default")
    users = nothing_set / "config" / "edgekit.toml"
    users.write_text('store = "users.sqlite"\n', encoding="utf-8")
    assert setting(edgekit, "store") == ("users.sqlite", str(users))
    monkeypatch.setenv("EDGEKIT_STORE", "environments.sqlite")
    assert setting(edgekit, "store") == ("environments.sqlite", "EDGEKIT_STORE")
    command = ("profile", packages["fp32"], "-d", "null:12", "--no-record", "--json")
    assert edgekit(*command).json["store"] == "environments.sqlite"
    assert edgekit(*command, "--store", "options.sqlite").json["store"] == "options.sqlite"
    assert Path("options.sqlite").is_file()


def test_threads_can_be_set(
    edgekit: Edgekit, nothing_set: Path, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(*options: object) -> int:
        ran = edgekit(
            "profile", packages["fp32"], "--launches", 1, "--iterations", 3, "--no-record", *options, "--json"
        )
        threads: int = ran.json["results"][0]["threads"]
        return threads

    Path("edgekit.toml").write_text("threads = 2\n", encoding="utf-8")
    assert used() == 2
    monkeypatch.setenv("EDGEKIT_THREADS", "1")
    assert used() == 1
    assert used("--threads", 2) == 2


def test_folders_are_shown_where_they_are(edgekit: Edgekit, nothing_set: Path) -> None:
    (nothing_set / "config" / "edgekit.toml").write_text('cache = "mine"\n', encoding="utf-8")
    folders = edgekit("doctor", "--json").json["folders"]
    assert folders["cache"] == "mine"
    assert folders["store"] == str(nothing_set / "data" / "edgekit" / "profiles.sqlite")


def test_a_settings_file_that_cannot_be_read(edgekit: Edgekit, nothing_set: Path) -> None:
    Path("edgekit.toml").write_text("store =\n", encoding="utf-8")
    ran = edgekit("doctor")
    assert ran.code == 2
    assert "edgekit.toml cannot be read" in ran.err
