"""What goes wrong between here and AI Hub: runs that are killed, lost answers, tokens, cut files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import SOURCE, Edgekit
from tests.emulator import Emulator

ASK = ("-t", "snapdragon-8-elite", "--via", "aihub", "-p", "fp16", "--simulated-images", "1")
CONVERT = ("convert", str(SOURCE), "--image-size", "96", *ASK)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """A service, a ledger and a cache that nothing is in yet; the model itself was read before."""
    with Emulator(tmp_path / "hub") as emulator:
        monkeypatch.setenv("QAIHUB_CLIENT_INI", str(emulator.ini))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.setenv("EDGEKIT_AIHUB_PATIENCE", "60")
        yield emulator


def uploads(hub: Emulator) -> int:
    """Models whose upload was finished."""
    return sum(row["status"] == 200 for row in hub.seen("model-complete"))


def jobs(hub: Emulator) -> int:
    return sum(row["status"] == 201 for row in hub.seen("job-create"))


def killed(out: Path, hub: Emulator, operation: str) -> None:
    """Starts a conversion and kills it, -9, once `operation` reached the service."""
    command = [sys.executable, "-P", "-m", "edgekit.cli.main", *CONVERT, "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not hub.seen(operation) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.5)  # its worker and the client end with it
    left = subprocess.run(
        ["pgrep", "-f", "edgekit.backends.worker"], capture_output=True, text=True, encoding="utf-8", errors="replace"
    )
    mine = [p for p in left.stdout.split() if str(out.parent) in _environment(p)]
    assert not mine, "a worker outlived it"
    assert not out.exists() or not list(out.iterdir())


def _environment(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace", encoding="utf-8")
    except OSError:
        return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "operation", "finished"),
    [
        ("slow-response=3:storage-put", "model-upload-url", 0),  # in the middle of the upload
        ("drop-connection:model-complete:always", "storage-put", 1),  # it arrived, and nobody here knows
        ("slow-job=4:compile", "job-create", 1),  # while it waits
        ("slow-response=3:storage-get", "model-download-url", 1),  # in the middle of the download
    ],
)
def test_a_killed_run_continues_and_uploads_nothing_twice(
    fault: str, operation: str, finished: int, hub: Emulator, edgekit: Edgekit, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert edgekit("convert", SOURCE, "--image-size", 96, *ASK, "--dry-run").code == 0  # reads it once
    hub.fault(fault)
    killed(out, hub, operation)
    hub.clear()
    sent = uploads(hub)  # the client itself repeats an upload that it heard no answer to
    assert sent <= finished or (finished and "drop-connection" in fault)
    ran = edgekit(*CONVERT, "-o", out)
    assert ran.code == 0, ran.err
    assert uploads(hub) == max(sent, 1)
    assert jobs(hub) == 2  # one that compiles, one that compares
    assert (out / "shapes-snapdragon-8-elite-fp16" / "receipt.json").is_file()


@pytest.mark.slow
def test_lost_answers_and_a_busy_service_cost_time_only(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    hub.fault("503:devices", "drop-connection:model-complete", "429=1:job-create", "drop-connection:job-get")
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert all(f["fired"] for f in hub.faults())


@pytest.mark.slow
def test_a_file_that_arrives_cut_is_sent_anew(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    hub.fault("truncated-upload:storage-put")
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 7
    assert "failed" in ran.err and "cannot be read" in ran.err and "sends the file anew" in ran.err
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert uploads(hub) == 2


@pytest.mark.slow
def test_a_damaged_download_is_noticed(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    for runtime in ("precompiled_qnn_onnx", "tflite"):  # with checksums inside, and without
        hub.fault("corrupt-download:storage-get")
        ran = edgekit(*CONVERT, "--runtime", runtime, "-o", tmp_path / "out")
        assert ran.code == 7 and "damaged" in ran.err, ran.err
        assert not (tmp_path / "out").exists()


def test_a_failed_job_says_why_and_can_be_asked_for_again(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    hub.fault("fail-job=The graph has an unsupported operator:compile")
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 7
    assert "The graph has an unsupported operator" in ran.err
    assert "without --via aihub" in ran.err and hub.url in ran.err
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert uploads(hub) == 1


def test_a_dry_run_sends_nothing(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(*CONVERT, "-o", tmp_path / "out", "--dry-run", "--json")
    assert ran.code == 0, ran.err
    upload, job = ran.json["packages"][0]["would"]
    assert upload["bytes"] > 1e6 and upload["to"] == hub.url and len(upload["sha256"]) == 64
    assert job["job"] == "compile" and job["device"] == "Samsung Galaxy S25"
    assert not hub.log() and not (tmp_path / "out").exists()
    shown = edgekit(*CONVERT, "--dry-run")
    assert "Nothing was sent" in shown.out and hub.url in shown.out


def test_nothing_is_sent_without_via(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", SOURCE, "--image-size", 96, "-p", "fp32", "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert not hub.log()


def test_a_wrong_token_is_told_before_any_work(
    hub: Emulator, edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = tmp_path / "wrong.ini"
    wrong.write_text(hub.ini.read_text(encoding="utf-8").replace(hub.token, "wrong-token"), encoding="utf-8")
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(wrong))
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 7
    assert "does not accept the token" in ran.err and "qai-hub configure" in ran.err
    assert "wrong-token" not in ran.err and "compiling" not in ran.err


def test_no_token(edgekit: Edgekit, hub: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QAIHUB_CLIENT_INI", str(tmp_path / "none.ini"))
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 3
    assert "No AI Hub token" in ran.err and "qai-hub configure" in ran.err
    own = ["pgrep", "-P", str(os.getpid()), "-f", "aihub/service.py"]
    assert not subprocess.run(own, capture_output=True).stdout, "the client was left running"


def test_no_client(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_AIHUB_PYTHON", sys.executable)
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 3
    assert "qai_hub" in ran.err and "pip install" in ran.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--runtime", "nonsense"), "precompiled_qnn_onnx"),
        (("--hub-options", "--truncate_64bits_io"), "--truncate_64bit_io"),
        (("--hub-options", "--qairt_version 2.1"), "--qairt-version"),
        (("--hub-options", "--compute_unit tpu"), "compute_unit"),
        (("--link",), "qnn_context_binary"),
        (("--qairt-version", "1.0"), "2.51"),
        (("-t", "cpu"), "no Snapdragon"),
        (("-t", "snapdragon-8-plus-gen-1"), "AI Hub has no device"),
    ],
)
def test_what_ai_hub_would_refuse_is_refused_before_anything_is_sent(
    options: tuple[str, ...], words: str, hub: Emulator, edgekit: Edgekit, tmp_path: Path
) -> None:
    ran = edgekit(*CONVERT, *options, "-o", tmp_path / "out")
    assert ran.code == 2, ran.err
    assert words in ran.err
    assert not hub.seen("model-create") and not hub.seen("job-create")


def test_a_device_that_is_not_there_names_those_like_it(hub: Emulator, edgekit: Edgekit) -> None:
    from edgekit.devices.address import open_device
    from edgekit.errors import UsageError

    with pytest.raises(UsageError, match="Samsung Galaxy S52") as caught:
        open_device("aihub:Samsung Galaxy S52").info()
    assert "Samsung Galaxy S25" in caught.value.next


def test_hub_options_are_for_ai_hub(edgekit: Edgekit) -> None:
    ran = edgekit("convert", SOURCE, "--runtime", "tflite")
    assert ran.code == 2 and "--via aihub" in ran.err


def test_the_token_is_nowhere(hub: Emulator, edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(*CONVERT, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    kept = [tmp_path / "out", tmp_path / "data", Path(os.environ["EDGEKIT_CACHE"])]
    files = [p for folder in kept for p in folder.rglob("*") if p.is_file()]
    assert files and not any(hub.token.encode() in p.read_bytes() for p in files)
