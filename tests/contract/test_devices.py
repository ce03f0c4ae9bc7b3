"""What every device keeps: it says what it is, and a launch has every phase and number."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.devices.address import open_device
from edgekit.devices.base import Device, DeviceInfo, Finished, Plan
from edgekit.devices.local import LocalTransport
from edgekit.devices.process import run_launch
from edgekit.devices.record import launch_from_json, launch_to_json
from edgekit.errors import DeviceError, EdgekitError, IntegrityError, MissingError, RemoteError, UsageError
from edgekit.runtime.measuring import PHASES
from edgekit.spec import from_json, to_json

PLAN = Plan(iterations=4, warmup=1, seconds=30.0, threads=1)


@pytest.fixture(params=registry.names("devices"))
def device(request: pytest.FixtureRequest) -> Device:
    """The device; skipped where it is not connected."""
    address = request.getfixturevalue(request.param).address if request.param in ("adb", "ssh") else request.param
    try:
        found = open_device(address)
        found.info()
    except (MissingError, DeviceError) as error:
        pytest.skip(str(error))
    return found


def test_it_says_what_it_is(device: Device) -> None:
    info = device.info()
    assert info.name and info.chip and info.system
    assert info.cores >= 0 and info.memory_bytes >= 0  # 0: it does not say
    assert all(isinstance(v, str) for v in info.facts.values())
    assert device.info() == info


def test_it_is_what_its_class_says(device: Device) -> None:
    assert device.name in registry.names("devices")
    assert not (device.timed and device.simulates)


def test_it_lists_itself_or_what_there_is_of_its_kind(device: Device) -> None:
    try:
        listed = device.listing()
    except (MissingError, RemoteError):
        return  # of a service that is not set up here
    assert listed and all(isinstance(info, DeviceInfo) for info in listed)


def test_what_it_says_survives_json(device: Device) -> None:
    info = device.info()
    assert from_json(DeviceInfo, json.loads(json.dumps(to_json(info)))) == info


def test_a_launch_has_every_phase_and_positive_numbers(device: Device, packages: dict[str, Path]) -> None:
    if not (device.timed or device.elsewhere):
        with pytest.raises(UsageError) as refusal:  # a simulator's time is none; a service's device has a name
            device.run(packages["fp32"], PLAN)
        assert refusal.value.next
        return
    launch = device.run(packages["fp32"], PLAN)
    assert tuple(launch.samples_s) == PHASES
    assert {len(samples) for samples in launch.samples_s.values()} == {PLAN.iterations}
    assert min(launch.samples_s["run"]) > 0
    assert all(value >= 0 for samples in launch.samples_s.values() for value in samples)
    assert all(total >= run for total, run in zip(launch.totals(), launch.samples_s["run"]))
    assert min(launch.cold_load_s, launch.warm_load_s, launch.first_run_s) > 0
    assert launch.peak_memory_bytes >= 0
    assert launch.threads == 1
    assert launch.engine
    assert not launch.others
    assert launch_from_json(json.loads(json.dumps(launch_to_json(launch)))) == launch
    device.finished()


def test_a_launch_leaves_the_package_as_it_was(device: Device, packages: dict[str, Path]) -> None:
    before = {p.name: p.read_bytes() for p in packages["w8a8"].iterdir()}
    with contextlib.suppress(UsageError):
        device.run(packages["w8a8"], PLAN)
    assert {p.name: p.read_bytes() for p in packages["w8a8"].iterdir()} == before


@dataclass
class Told:
    """A transport to a machine that answers as it is told."""

    output: str
    code: int = 0
    errors: str = ""
    commands: list[list[str]] = field(default_factory=list)
    place: str = "a board"
    python: str = "/opt/python"

    def put(self, local: Path, remote: str) -> None: ...

    def get(self, remote: str, local: Path) -> None: ...

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        self.commands.append(list(command))
        return Finished(self.code, self.output, self.errors)


SEEN = {
    "samples_s": {"run": [0.1]},
    "cold_load_s": 1.0,
    "warm_load_s": 0.5,
    "first_run_s": 0.2,
    "peak_memory_bytes": 1,
    "threads": 1,
    "engine": "e 1",
}


def test_a_launch_over_any_transport() -> None:
    board = Told("greetings of a library\n" + json.dumps({**SEEN, "of_tomorrow": 1}))
    launch = run_launch(board, "/data/p", PLAN)
    assert launch.samples_s == {"run": [0.1]} and launch.others == {"of_tomorrow": 1}
    (command,) = board.commands
    assert command[:5] == ["/opt/python", "-P", "-m", "edgekit.devices.launch", "/data/p"]
    assert command[5:] == ["--iterations", "4", "--warmup", "1", "--seconds", "30.0", "--threads", "1"]


@pytest.mark.parametrize(
    ("board", "error", "text"),
    [
        (Told("", 137, "Killed"), DeviceError, "Killed"),
        (Told("", 1), DeviceError, "exit code 1"),
        (Told("[1]"), DeviceError, "a board"),
        (Told('{"samples_s": 3, "edgekit": "9.9"}'), DeviceError, "edgekit 9.9"),
        (Told('{"samples_s": 3}'), DeviceError, "cannot be read"),
        (Told(json.dumps(IntegrityError("broken", "why", "next").to_dict()), 6), IntegrityError, "broken"),
    ],
)
def test_a_launch_that_fails_there(board: Told, error: type[EdgekitError], text: str) -> None:
    with pytest.raises(error) as raised:
        run_launch(board, "/data/p", PLAN)
    assert text in str(raised.value)


def test_files_reach_this_machine_and_come_back(tmp_path: Path) -> None:
    transport, folder = LocalTransport(), tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(b"x")
    transport.put(folder, str(tmp_path / "there"))
    transport.get(str(tmp_path / "there" / "file"), tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"x"
    with pytest.raises(DeviceError):
        transport.get(str(tmp_path / "nothing"), tmp_path / "back")
    with pytest.raises(DeviceError, match=r"0\.2 seconds"):
        transport.run([transport.python, "-c", "import time; time.sleep(9)"], {}, 0.2)
    assert transport.run([transport.python, "-c", "import os; print(os.environ['A'])"], {"A": "b"}, 9).output == "b\n"


def test_kinds_that_are_not_registered_are_refused() -> None:
    with pytest.raises(UsageError, match="abacus"):
        open_device("abacus:1")
