"""What goes wrong between Qualcomm's client and a service, made to go wrong by the emulator.

Each fault must reach the unmodified client as the real one would: some it outlives by itself, some
it hands on, some it does not notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit_hub_emulator import MARK
from edgekit_hub_emulator.faults import OPERATIONS, parse
from tests.emulator import PACKAGE, Emulator, small_network

RATE, USER, BROKEN = "RateLimitedError", "UserError", "InternalError"

# fault; what is done; the exception, part of its text; how many requests met the fault
CASES: list[tuple[str, str, str, str, int]] = [
    ("503", "list", "", "", 1),
    ("429=1", "list", "", "", 1),
    ("500:always", "list", BROKEN, "Qualcomm AI Hub reported errors", 7),
    ("503:always", "list", BROKEN, "Qualcomm AI Hub is unavailable right now", 7),
    ("429:always", "list", BROKEN, "Qualcomm AI Hub reported errors", 7),
    ("expired-token:always", "list", USER, "Failure to authenticate is likely caused by a bad or expired API token", 1),
    ("drop-connection", "list", "", "", 1),
    ("drop-connection=before", "list", "", "", 1),
    ("drop-connection:always", "list", BROKEN, "Could not connect to Qualcomm AI Hub", 7),
    ("drop-connection=within", "list", BROKEN, "A communication error occurred with Qualcomm AI Hub", 1),
    ("503:model-create", "upload", "", "", 1),
    ("429:model-create:always", "upload", RATE, "Request was throttled.", 7),
    ("expired-token:model-complete", "upload", USER, "Failed to authenticate", 1),
    ("drop-connection:model-complete", "upload", "", "", 1),
    ("503:storage-put", "upload", "", "", 1),
    ("503:storage-put:always", "upload", BROKEN, "is unavailable right now", 7),
    ("drop-connection=before:storage-put", "upload", "", "", 1),
    ("incomplete-upload", "upload", BROKEN, "IncompleteBody: You did not provide the number of bytes", 1),
    ("truncated-upload", "upload", "", "", 1),
    ("500:storage-post", "data", "", "", 1),
    ("incomplete-upload", "data", BROKEN, "IncompleteBody", 1),
    ("truncated-upload", "data", "", "", 1),
    ("drop-connection=within:dataset-complete", "data", "", "", 1),
    ("503:job-create", "submit", "", "", 1),
    ("429:job-create:7", "submit", RATE, "Request was throttled.", 7),
    ("drop-connection:job-create", "submit", "", "", 1),
    ("503:job-get+1", "wait", "", "", 1),
    ("expired-token:job-get+1:always", "wait", USER, "Failed to authenticate", 1),
    ("503:storage-get", "download", "", "", 1),
    ("503:storage-get:always", "download", BROKEN, "is unavailable right now", 7),
    ("truncated-download", "download", "", "", 1),
    ("truncated-download:always", "download", BROKEN, "A communication error occurred", 7),
    ("corrupt-download", "download", "", "", 1),
]

CODE = """
from pathlib import Path
folder, cases = Path(arguments[0]), json.loads(arguments[1])
model = hub.upload_model(folder / "net.onnx", name="whole")
device = hub.Device("Samsung Galaxy S24")
job = hub.submit_compile_job(model, device, options="--target_runtime tflite")
assert job.wait().success
good = Path(job.get_target_model().download(str(folder / "good"))).read_bytes()
options = "--target_runtime none"  # fails at once: only its being asked for matters here
done = {
    "list": lambda: hub.get_devices(),
    "upload": lambda: hub.upload_model(folder / "net.onnx", name="model"),
    "data": lambda: hub.upload_dataset({"image": [np.zeros((1, 3, 32, 32), np.float32)]}),
    "submit": lambda: hub.submit_compile_job(model, device, options=options),
    "wait": lambda: hub.get_job(job.job_id).wait(),
    "download": lambda: Path(hub.get_model(job.get_target_model().model_id).download(str(folder / "got"))).read_bytes(),
}
found = []
for fault, what, *rest in cases:
    control("DELETE", "faults")
    control("POST", "faults", fault)
    before = len(control("GET", "log"))
    (folder / "got.tflite").unlink(missing_ok=True)
    made = []
    case = caught(lambda: made.append(done[what]()))
    case["log"] = control("GET", "log")[before:]
    case["left"] = [f.name for f in folder.glob("got*")]
    if made and what == "download":
        case["whole"] = made[0] == good
    if made and what in ("upload", "data"):
        case["id"] = getattr(made[0], "model_id", None) or made[0].dataset_id
    found.append(case)
control("DELETE", "faults")
cut = {c[1]: f["id"] for c, f in zip(cases, found) if c[0] == "truncated-upload"}
ends = [hub.submit_compile_job(hub.get_model(cut["upload"]), device, options="--target_runtime tflite"),
        hub.submit_inference_job(job.get_target_model(), device, inputs=hub.get_dataset(cut["data"]))]
ends = [[e.wait().code, e.wait().message] for e in ends]
for fault in ("fail-job=out of memory:compile", "slow-job=1.5:compile"):
    control("POST", "faults", fault)
    start = time.monotonic()
    status = hub.submit_compile_job(model, device, options="--target_runtime tflite").wait()
    ends.append([status.code, status.message, time.monotonic() - start])
result([found, ends])
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("hub") / "state") as emulator:
        yield emulator


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_network(tmp_path_factory.mktemp("network") / "net.onnx")


@pytest.fixture(scope="module")
def met(hub: Emulator, network: Path) -> Any:
    """What became of each of CASES, and of jobs."""
    return hub.client(CODE, network.parent, json.dumps(CASES), seconds=200)


@pytest.mark.parametrize("index", range(len(CASES)), ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_faults_reach_the_client(met: Any, index: int) -> None:
    (_, what, kind, text, times), found = CASES[index], met[0][index]
    assert found["class"].rpartition(".")[2] == kind, found
    plain = re.sub(r"[\u2500-\u257f|\s]+", " ", found["text"])  # out of the box it is drawn in
    assert text in plain, plain
    assert len([row for row in found["log"] if row["fault"]]) == times
    if what == "download":
        assert found["left"] == ([] if kind else ["got.tflite"])  # nothing half-written


def test_what_the_client_does_not_notice(met: Any) -> None:
    """What edgekit has to check itself."""
    cases = {f"{c[0]} {c[1]}": found for c, found in zip(CASES, met[0])}
    assert cases["truncated-download download"]["whole"]
    assert not cases["corrupt-download download"]["whole"]
    # an answer that is lost: the client asks again, and there are two jobs
    made = [r for r in cases["drop-connection:job-create submit"]["log"] if r["operation"] == "job-create"]
    assert [r["status"] for r in made] == [201, 201]


def test_what_was_cut_on_the_way_fails_the_job_that_uses_it(met: Any) -> None:
    model, data, *_ = met[1]
    assert model[0] == "FAILED" and "cannot be read" in model[1]
    assert data[0] == "FAILED" and "cannot be read" in data[1]


def test_jobs_fail_and_dawdle_when_told_to(met: Any) -> None:
    *_, failed, slow = met[1]
    assert failed[:2] == ["FAILED", f"out of memory [{MARK}]"]
    assert slow[0] == "SUCCESS" and slow[2] > 1.5


@pytest.mark.slow
def test_storage_that_is_slow_is_asked_again(hub: Emulator, network: Path) -> None:
    hub.fault("slow-response=5:storage-put")  # the client waits for 4 s
    code = "result(caught(lambda: hub.upload_model(arguments[0])))"
    assert not hub.client(code, network)["class"]
    assert [r["status"] for r in hub.seen("storage-put")][-1] == 200


def test_faults_as_they_are_written() -> None:
    assert vars(parse("fail-job=out of: memory:compile+2:always")) == {
        "kind": "fail-job",
        "value": "out of: memory",
        "when": "compile",
        "skip": 2,
        "times": 0,
        "fired": 0,
    }
    assert parse("503:always").when == "*" and parse("503:3").times == 3
    for wrong, why in {
        "": "is not KIND",
        "418": "there is no fault 418",
        "503:no-such": "none of them is no-such",
        "slow-job": "takes seconds",
        "slow-response=soon": "takes seconds",
        "fail-job:job-get": "none of them",
        "expired-token:storage-get": "none of them",
        "drop-connection=after": "before or within",
    }.items():
        with pytest.raises(ValueError, match=why):
            parse(wrong)


def test_every_operation_can_meet_a_fault() -> None:
    text = "".join((PACKAGE / n).read_text(encoding="utf-8") for n in ("api.py", "storage.py"))
    assert set(re.findall(r'ROUTES\.add\("\w+", "[^"]+", "([\w-]+)"\)', text)) == set(OPERATIONS)
