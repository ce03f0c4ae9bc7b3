"""The emulator of AI Hub against nonsense, tricks and sudden deaths, its own and its client's."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data import ROOT
from tests.emulator import PACKAGE, Emulator, client_or_skip, small_network


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("hub") / "state") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_network(tmp_path_factory.mktemp("network") / "net.onnx")


def until(happens: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def request(
    hub: Emulator, method: str, path: str, body: bytes = b"", token: str | None = None, **headers: str
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(hub.url.removeprefix("http://"), timeout=30)
    given = {"Authorization": f"token {hub.token if token is None else token}", **headers}
    with contextlib.closing(connection):
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_a_wrong_token_is_refused_and_no_token_is_logged(hub: Emulator, tmp_path: Path) -> None:
    wrong = tmp_path / "client.ini"
    wrong.write_text(hub.ini.read_text(encoding="utf-8").replace(hub.token, "wrong-token"), encoding="utf-8")
    found = hub.client("result(caught(hub.get_devices))", ini=wrong)
    assert found["class"].endswith("UserError") and "Failed to authenticate" in found["text"]
    request(hub, "GET", f"/api/v1/devices/?token={hub.token}")
    log = (hub.state / "log.jsonl").read_text(encoding="utf-8")
    assert "/api/v1/devices/" in log
    assert hub.token not in log and "wrong-token" not in log


def test_only_this_user_on_this_machine_reaches_it(hub: Emulator) -> None:
    assert stat.S_IMODE(hub.ini.stat().st_mode) == 0o600
    port = int(hub.url.rpartition(":")[2])
    with socket.socket() as other:
        other.bind(("127.0.0.2", port))  # taken, were the emulator on every address
    assert request(hub, "GET", "/_emulator/log", token="")[0] == 401
    assert request(hub, "GET", "/api/v1/models/", token="")[0] == 401
    assert request(hub, "PUT", "/storage/models/mabcdefgh/0?signature=guess", b"x")[0] == 403


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/jobs/", b"\xff\xff\xff\xff garbage"),
        ("POST", "/api/v1/jobs/", b""),
        ("POST", "/api/v1/models/", b"\x0a\xff"),
        ("POST", "/api/v1/jobs/", bytes(16 << 20) + b"x"),  # larger than any message
        ("GET", "/api/v1/models/../../client.ini", b""),
        ("GET", "/api/v1/models/..%2f..%2fclient.ini/", b""),
        ("GET", "/api/v1/models/m1/", b""),
        ("GET", "/storage/models/../client.ini", b""),
        ("GET", "/storage/jobs/%2e%2e?signature=x", b""),
        ("PUT", "/storage/models/mabcdefgh/..", b"x"),
        ("POST", "/storage/datasets/dabcdefgh", b"x"),
        ("GET", "/api/v1/models/mabcdefgh/multipart_upload/?file_size=" + "9" * 5000, b""),
        ("GET", "/api/v1/", b""),
        ("GET", "/etc/passwd", b""),
        ("DELETE", "/api/v1/models/", b""),
        ("POST", "/_emulator/faults", b'"503:no-such-operation"'),
        ("POST", "/_emulator/faults", b'{"kind": "503"}'),
        ("POST", "/_emulator/faults", b"\xff"),
    ],
)
def test_nonsense_is_refused(hub: Emulator, method: str, path: str, body: bytes) -> None:
    status, answer = request(hub, method, path, body)
    assert 400 <= status < 500, answer
    assert hub.running and request(hub, "GET", "/api/v1/devices/")[0] == 200


@pytest.mark.parametrize("length", ["-1", "many", "²"])
def test_requests_of_no_known_length_are_refused(hub: Emulator, length: str) -> None:
    headers = {"Content-Length": length.encode().decode("latin-1")}
    assert request(hub, "POST", "/api/v1/jobs/", **headers)[0] == 400
    assert request(hub, "POST", "/api/v1/jobs/", **{"Transfer-Encoding": "chunked"})[0] == 400
    assert hub.running


def test_a_bad_archive_fails_its_job_only(hub: Emulator, tmp_path: Path) -> None:
    """And so does one whose names lead out of the folder it is unpacked to."""
    code = """
import io, zipfile
from qai_hub import public_api_pb2 as pb, public_rest_api as rest
from pathlib import Path
device, config = hub.Device("Samsung Galaxy S24"), api_utils.load_default_api_config()
tricky = io.BytesIO()
with zipfile.ZipFile(tricky, "w") as archive:
    archive.writestr("../../../../escaped.onnx", b"x")
    archive.writestr("/tmp/escaped.onnx", b"x")
whole = io.BytesIO()
with zipfile.ZipFile(whole, "w") as archive:
    archive.writestr("m.onnx/model.onnx", bytes(5000))
found = []
for content in (b"PK no archive", whole.getvalue()[:100], tricky.getvalue()):
    path = Path(arguments[0]) / "model.zip"
    path.write_bytes(content)
    made = rest.create_and_upload_model(config, str(path), pb.MODEL_TYPE_ONNX, name="../../x", is_directory=True)
    job = hub.submit_compile_job(hub.get_model(made.id), device, options="--target_runtime onnx")
    found.append([job.wait().code, job.wait().message])
result([found, Path(hub.get_model(made.id).download(arguments[0])).name])
"""
    found, name = hub.client(code, tmp_path)
    assert [f[0] for f in found] == ["FAILED"] * 3
    assert all("not a valid .zip" in f[1] for f in found[:2]), found
    assert name == ".._.._x.onnx.zip"
    assert [p.name for p in tmp_path.iterdir()].count(name) == 1
    assert not list(hub.state.glob("*.onnx")) and not Path("/tmp/escaped.onnx").exists()


def test_a_client_that_dies_while_it_uploads(tmp_path: Path) -> None:
    """What is left is a model without a file, found by its name; its upload starts again, whole."""
    big = tmp_path / "big.onnx"
    big.write_bytes(os.urandom(4 << 20))
    with Emulator(tmp_path / "hub", "--part-size", str(1 << 18)) as hub:
        hub.fault("slow-response=0.2:storage-put:always")
        command = hub.client_command("hub.upload_model(arguments[0], name='by its name')", big)
        uploading = subprocess.Popen(command, env=hub.client_environment())
        until(lambda: len(hub.seen("storage-put")) >= 3)
        uploading.send_signal(signal.SIGKILL)
        uploading.wait()
        hub.clear()
        code = """
from qai_hub import public_rest_api as rest
(model,) = [m for m in hub.get_models() if m.name == "by its name"]
config = api_utils.load_default_api_config()
complete = lambda: rest.get_model(config, model.model_id).file_upload_complete
found = [model.model_id, complete(), caught(lambda: model.download(arguments[1]))]
job = hub.submit_compile_job(model, hub.Device("Samsung Galaxy S24"), options="--target_runtime tflite")
found.append(job.wait().message)
before = len(control("GET", "log"))
rest.upload_model(config, arguments[0], model.model_id)
result([*found, complete(), len([r for r in control("GET", "log")[before:] if r["operation"] == "storage-put"])])
"""
        model, whole, download, job, whole_then, parts = hub.client(code, big, tmp_path / "got")
        assert not whole and whole_then and parts == 16
        assert download["class"].endswith("UserError") and "is not available" in download["text"]
        assert f"Model {model} was never uploaded." in job
        kept = (hub.state / "models" / model / "blob").read_bytes()
        assert hashlib.sha256(kept).digest() == hashlib.sha256(big.read_bytes()).digest()
        assert not list((hub.state / "incoming").iterdir())


def test_an_emulator_that_dies_goes_on_where_it_was(tmp_path: Path, network: Path) -> None:
    submit = """
model = hub.upload_model(arguments[0])
jobs = [hub.submit_compile_job(model, hub.Device("Samsung Galaxy S24"), options="--target_runtime tflite")
        for _ in range(2)]
jobs[0].wait()
result([j.job_id for j in jobs])
"""
    look = """
jobs = [hub.get_job(i) for i in arguments]
result([[j.wait().code, j.name] for j in jobs])
"""
    with Emulator(tmp_path / "hub") as hub:
        before = (hub.url, hub.token)
        hub.fault("slow-job=60:compile+1")
        done, running = hub.client(submit, network)
        place = hub.state / "jobs" / running
        until(lambda: (place / "attempt-1").is_dir())
        hub.kill()
        with (hub.state / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write('{"time": 1, "meth')  # as a death in the middle of a line leaves it
        hub.start()
        assert (hub.url, hub.token) == before
        assert hub.client(look, done, running) == [["SUCCESS", "net.onnx"]] * 2
        assert (place / "attempt-2").is_dir()
        assert [r["operation"] for r in hub.log()].count("model-create") == 1


def test_no_worker_outlives_its_emulator(tmp_path: Path, network: Path) -> None:
    code = """
hub.submit_compile_job(arguments[0], hub.Device("Samsung Galaxy S24"), options="--target_runtime qnn_dlc")
"""
    with Emulator(tmp_path / "hub") as hub:
        assert hub.run_client(code, network).returncode == 0
        until(lambda: bool(workers(hub)))
        hub.kill()
        until(lambda: not workers(hub))


def workers(hub: Emulator) -> list[str]:
    found = subprocess.run(
        ["ps", "-ewwo", "args"], capture_output=True, text=True, check=True, encoding="utf-8", errors="replace"
    ).stdout
    return [t for t in found.splitlines() if "edgekit_hub_emulator.work" in t and str(hub.state) in t]


def test_two_emulators_do_not_share_a_state(hub: Emulator) -> None:
    command = [hub.python, "-I", PACKAGE, "--state", hub.state, "--edgekit-path", ROOT]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, encoding="utf-8", errors="replace"
    )
    assert ran.returncode == 1 and "another emulator uses" in ran.stderr


def test_the_command_that_is_killed_takes_its_server_along(tmp_path: Path) -> None:
    """Else the next one would find its state in use."""
    client_or_skip()
    command = [sys.executable, "-P", "-m", "edgekit.cli.main", "hub-emulator", "--state", str(tmp_path), "--json"]
    for _ in range(2):
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
        ) as process:
            assert process.stdout is not None
            ready = "".join(iter(process.stdout.readline, "}\n")) + "}"
            server = Path(f"/proc/{json.loads(ready)['pid']}")
            process.kill()
        until(lambda server=server: not server.exists())


def test_a_command_finds_the_emulator_and_its_exit_code_is_returned(tmp_path: Path) -> None:
    client_or_skip()
    asks = "import os, sys; print(open(os.environ['QAIHUB_CLIENT_INI']).read()); sys.exit(5)"
    ran = subprocess.run(
        [
            sys.executable,
            "-P",
            "-m",
            "edgekit.cli.main",
            "hub-emulator",
            "--state",
            tmp_path,
            "--",
            sys.executable,
            "-c",
            asks,
        ],
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 5 and "api_url = http://127.0.0.1:" in ran.stdout
    assert "emulated" in ran.stderr
