"""What every device keeps: it says what it is, and a launch has every phase and number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.devices.address import open_device
from edgekit.devices.base import Device, DeviceInfo, Plan
from edgekit.devices.record import Launch, launch_from_json, launch_to_json
from edgekit.errors import DeviceError, MissingError, UsageError
from edgekit.runtime.measuring import PHASES
from edgekit.spec import from_json, to_json

PLAN = Plan(iterations=4, warmup=1, seconds=30.0, threads=1)


@pytest.fixture(params=registry.names("devices"))
def device(request: pytest.FixtureRequest) -> Device:
    """The device; skipped where it is not connected."""
    try:
        found = open_device(request.param)
        found.info()
    except (MissingError, DeviceError) as error:
        pytest.skip(str(error))
    return found


def launched(device: Device, package: Path) -> Launch:
    """One launch; skipped where the device says why it measures nothing as it was asked."""
    try:
        return device.run(package, PLAN)
    except UsageError as refusal:
        pytest.skip(f"{refusal}; {refusal.next}")


def test_it_says_what_it_is(device: Device) -> None:
    info = device.info()
    assert info.name and info.chip and info.system
    assert info.cores >= 0 and info.memory_bytes >= 0  # 0: it does not say
    assert all(isinstance(v, str) for v in info.facts.values())
    assert device.info() == info


def test_what_it_says_survives_json(device: Device) -> None:
    info = device.info()
    assert from_json(DeviceInfo, json.loads(json.dumps(to_json(info)))) == info


def test_a_launch_has_every_phase_and_positive_numbers(device: Device, packages: dict[str, Path]) -> None:
    launch = launched(device, packages["fp32"])
    assert tuple(launch.samples_s) == PHASES
    assert {len(samples) for samples in launch.samples_s.values()} == {PLAN.iterations}
    assert min(launch.samples_s["run"]) > 0
    assert all(value >= 0 for samples in launch.samples_s.values() for value in samples)
    assert all(total >= run for total, run in zip(launch.totals(), launch.samples_s["run"]))
    assert min(launch.cold_load_s, launch.warm_load_s, launch.first_run_s) > 0
    assert launch.peak_memory_bytes >= 0
    assert launch.threads == 1
    assert launch.engine
    assert launch_from_json(json.loads(json.dumps(launch_to_json(launch)))) == launch


def test_a_launch_leaves_the_package_as_it_was(device: Device, packages: dict[str, Path]) -> None:
    before = {p.name: p.read_bytes() for p in packages["w8a8"].iterdir()}
    launched(device, packages["w8a8"])
    assert {p.name: p.read_bytes() for p in packages["w8a8"].iterdir()} == before


def test_kinds_that_are_not_registered_are_refused() -> None:
    with pytest.raises(UsageError, match="abacus"):
        open_device("abacus:1")
