"""Results on stdout, everything else on stderr; one JSON document; colours only for people."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.commands import EVERY_VERB, SOURCE, Edgekit, good_commands
from tests.emulator import client_or_skip


@pytest.fixture(autouse=True)
def questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is typed; and a server ends as soon as it would listen."""
    uvicorn = pytest.importorskip("uvicorn")
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n"))
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)


def prepared(verb: str, edgekit: Edgekit, package: Path, folder: Path, texts: dict[str, Path]) -> list[object]:
    commands = good_commands(package, folder, texts["fp32"])
    if verb == "unpack":
        assert edgekit(*commands["pack"]).code == 0
    if verb == "hub-emulator":
        client_or_skip()
    return commands[verb]


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_json_is_one_document_and_nothing_else(
    verb: str, edgekit: Edgekit, packages: dict[str, Path], text_packages: dict[str, Path], tmp_path: Path
) -> None:
    ran = edgekit(*prepared(verb, edgekit, packages["fp32"], tmp_path, text_packages), "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["schema"] == f"edgekit.{verb}/1"


@pytest.mark.parametrize("verb", EVERY_VERB)
def test_people_get_text_without_escape_codes(
    verb: str, edgekit: Edgekit, packages: dict[str, Path], text_packages: dict[str, Path], tmp_path: Path
) -> None:
    ran = edgekit(*prepared(verb, edgekit, packages["fp32"], tmp_path, text_packages))
    assert ran.code == 0, ran.err
    said = ran.err if verb == "hub-emulator" else ran.out  # stdout is its command's
    assert said.strip()
    assert "\x1b" not in ran.out + ran.err
    with pytest.raises(json.JSONDecodeError):
        json.loads(ran.out)


@pytest.mark.slow
def test_progress_goes_to_stderr(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEKIT_QUIET")
    # a size of its own: what was compared before is not compared again
    ran = edgekit("convert", SOURCE, "--image-size", 160, "-o", tmp_path, "--json")
    assert "compiling" in ran.err and "verifying" in ran.err
    assert ran.json["schema"] == "edgekit.convert/1"
    monkeypatch.setenv("EDGEKIT_QUIET", "1")
    assert edgekit("convert", SOURCE, "--image-size", 160, "-o", tmp_path).err == ""


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ["frobnicate"]),
        (2, ["convert"]),
        (2, ["convert", "model.docx"]),
        (2, ["convert", "nowhere.onnx"]),
        (2, ["profile", "PACKAGE", "-d", "abacus"]),
        (2, ["profile", "PACKAGE", "-d", "null:soon"]),
        (2, ["profile", "PACKAGE", "--launches", 0]),
        (2, ["compare", "PACKAGE"]),
        (2, ["detect", "PACKAGE"]),
        (5, ["detect", "PACKAGE", "EMPTY"]),
        (2, ["detect", "PACKAGE", "any.jpg", "--score", 2]),
        (2, ["unpack", "nowhere.edgepkg"]),
        (3, ["profile", "PACKAGE", "--store", "EMPTY"]),
        (2, ["detect", "PACKAGE", "nowhere.jpg"]),
        (5, ["pack", "PACKAGE", "-o", "EMPTY/none/x.edgepkg"]),
        (6, ["inspect", "EMPTY"]),
        (6, ["verify", "EMPTY"]),
        (6, ["detect", "EMPTY", "any.jpg"]),
        (6, ["report", "EMPTY"]),
        (6, ["unpack", "TEXT"]),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "-".join(map(str, value)),
)
def test_wrong_input_gives_its_exit_code_and_one_clear_error(
    code: int, arguments: list[object], edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.edgepkg").write_text("not a package", encoding="utf-8")
    places = {"PACKAGE": packages["fp32"], "EMPTY": tmp_path / "empty", "TEXT": tmp_path / "text.edgepkg"}
    line = ["/".join(str(places.get(part, part)) for part in str(argument).split("/")) for argument in arguments]
    ran = edgekit(*line)
    assert ran.code == code, ran.err
    assert ran.out == ""
    assert ran.err.lower().count("error: ") == 1
    assert "Traceback" not in ran.err
    as_json = edgekit(*line, "--json")
    assert as_json.code == code
    assert as_json.err == ""
    assert as_json.json["schema"] == "edgekit.error/1"
    assert as_json.json["what"] in ran.err


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a person would see: stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    kept = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-m", "edgekit.cli.main", *arguments],
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    seen = b""
    try:
        while chunk := os.read(ours, 65536):
            seen += chunk
    except OSError:  # Linux: the other end was closed
        pass
    os.close(ours)
    process.wait()
    return seen.decode()


@pytest.mark.parametrize("arguments", [("targets",), ("verify", "/nowhere")], ids=" ".join)
def test_no_color_is_respected_on_a_terminal(arguments: tuple[str, ...]) -> None:
    assert "\x1b[" in on_a_terminal(*arguments)
    assert "\x1b[" not in on_a_terminal(*arguments, NO_COLOR="1")


def test_a_reader_that_goes_away_is_no_error() -> None:
    line = f"{sys.executable} -m edgekit.cli.main doctor | head -n 1"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
