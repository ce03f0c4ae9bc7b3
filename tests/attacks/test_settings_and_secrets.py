"""What lies in the working directory decides nothing that runs; what is secret is shown to nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError
from edgekit.system.redaction import redact
from tests.cli.commands import Edgekit

TOKEN = "abc123secretsecret42"


@pytest.mark.parametrize("name", ["aihub_python", "store", "cache"])
@pytest.mark.parametrize("verb", [("doctor",), ("devices",), ("backends",), ("convert", "x.onnx", "-t", "cpu")])
def test_the_current_folders_file_names_no_program_and_no_place(
    name: str, verb: tuple[str, ...], edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n", encoding="utf-8")
    program.chmod(0o755)
    (tmp_path / "edgekit.toml").write_text(f'{name} = "{program}"\n', encoding="utf-8")
    (tmp_path / "x.onnx").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for variable in ("EDGEKIT_AIHUB_PYTHON", "EDGEKIT_STORE", "EDGEKIT_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    ran = edgekit(*verb)
    assert not (tmp_path / "ran").exists()
    assert ran.code == 2 or name not in ran.out, ran.out
    if ran.code == 2:
        assert name in ran.err and f"EDGEKIT_{name.upper()}" in ran.err


def test_harmless_settings_may_lie_there(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edgekit.toml").write_text("threads = 3\n", encoding="utf-8")
    monkeypatch.delenv("EDGEKIT_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    found = edgekit("doctor", "--json").json["settings"]["threads"]
    assert found == {"name": "threads", "value": "3", "origin": "edgekit.toml"}


def test_on_a_device_the_current_folders_file_decides_nothing(
    packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that loads a package runs where it likes; the user's own file counts."""
    from edgekit.runtime import Detector, load

    monkeypatch.delenv("EDGEKIT_THREADS", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edgekit.toml").write_text("threads = [", encoding="utf-8")
    with load(packages["fp32"], kind=Detector) as detector:
        default = detector.threads
    monkeypatch.setenv("EDGEKIT_CONFIG_HOME", str(tmp_path))
    (tmp_path / "edgekit.toml").write_text(f"threads = {default + 3}\n", encoding="utf-8")
    with load(packages["fp32"], kind=Detector) as detector:
        assert detector.threads == default + 3


@pytest.mark.parametrize("text", [b"threads = \xff", b"threads = [" * 5000, b"x" * 2_000_000, b"threads = {a = 1}"])
def test_a_settings_file_that_is_none(
    text: bytes, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "edgekit.toml").write_bytes(text)
    monkeypatch.chdir(tmp_path)
    ran = edgekit("doctor")
    assert ran.code == 2 and "edgekit.toml" in ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize(
    "content",
    [
        f"api_token = {TOKEN}\n",
        f"[api]\napi_token {TOKEN}\n",
        f"[api]\n = {TOKEN}\n",
        f"[api]\napi_token = {TOKEN}\napi_token = {TOKEN}\n",
        f"[api\napi_token={TOKEN}\n",
        f"[api]\n{TOKEN}\n\xff",
    ],
)
def test_a_malformed_client_file_is_told_without_its_token(
    content: str, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "client.ini").write_bytes(content.encode("latin-1"))
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(tmp_path / "client.ini"))
    monkeypatch.setenv("EDGEKIT_AIHUB_PYTHON", sys.executable)
    for words in (("devices", "aihub"), ("doctor",)):
        ran = edgekit(*words)
        assert TOKEN not in ran.out + ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{TOKEN}@example.org/x",
        f"cannot connect to user:{TOKEN}@example.org:80",
        f"?token={TOKEN}&a=1",
        f"api_token = {TOKEN}",
        f"Authorization: token {TOKEN}",
        f"bearer {TOKEN}",
        f"{{'api_key': '{TOKEN}'}}",
        "hf_abcdefghijklmnopqrstuvwx is refused",
    ],
)
def test_secrets_are_hidden_in_every_error(text: str) -> None:
    error = EdgekitError(text, text, text)
    assert TOKEN not in str(error) + repr(error.to_dict()) + redact(text)
    assert "hf_abc" not in str(error)


def test_a_secret_of_the_environment_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct horse battery")
    assert "horse" not in str(EdgekitError("refused: correct horse battery"))


@pytest.mark.parametrize(
    "text", ["bos_token_id: 123456789012", "its tokenizer: something odd", "max_tokens=100000000000"]
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_errors_do_not_steer_a_terminal() -> None:
    error = EdgekitError("bad name \x1b[31mred\x07", "a\x00b")
    assert "\x1b" not in str(error) and "\x07" not in str(error) and "\x00" not in str(error)


def test_a_token_of_the_emulator_is_no_argument(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("hub-emulator", "--token", TOKEN)
    assert ran.code == 2 and "--token" in ran.err
    (tmp_path / "empty").write_text("", encoding="utf-8")
    ran = edgekit("hub-emulator", "--client-python", sys.executable, "--token-file", tmp_path / "empty")
    assert ran.code == 2 and "holds no token" in ran.err


def test_nothing_beside_the_user_is_imported(tmp_path: Path, packages: dict[str, Path]) -> None:
    """Names that edgekit's children import, planted where it is started."""
    for name in ("numpy", "onnxruntime", "onnx", "torch", "json", "edgekit", "sitecustomize", "click"):
        mark = tmp_path / f"ran-{name}"
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')", encoding="utf-8")
    tool = Path(sys.executable).with_name("edgekit")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for words in (
        ("verify", str(packages["fp32"])),
        ("profile", str(packages["fp32"]), "--launches", "2", "--iterations", "3", "--no-record"),
    ):
        subprocess.run([tool, *words], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert not list(tmp_path.glob("ran-*"))
