"""A launch at AI Hub: what a profile job says, as the record that every device gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("onnx")

from edgekit.devices.aihub import AiHubDevice, launch
from edgekit.devices.base import Plan
from edgekit.devices.record import HostNotes, launch_from_json, launch_to_json
from edgekit.errors import DeviceError, RemoteError, UsageError

PROFILE: dict[str, Any] = {
    "execution_summary": {
        "all_inference_times": [2000, 3000],
        "estimated_inference_time": 2500,
        "first_load_time": 500_000,
        "warm_load_time": 250_000,
        "estimated_inference_peak_memory": 4096,
        "inference_memory_peak_range": [1024, 4096],
    },
    "execution_detail": [{"name": "conv", "compute_unit": "NPU"}, {"name": "nms", "compute_unit": "CPU"}],
}


@dataclass
class FakeHub:
    profile_of_job: dict[str, Any]
    requests: list[Any] = field(default_factory=list)

    def device(self, name: str) -> dict[str, Any]:
        return {"name": name, "os": "15", "attributes": ["os:android", "chipset:qualcomm-snapdragon-8-elite"]}

    def model(self, sha256: str, title: str, file: Any) -> str:
        return "m1"

    def job(self, request: Any) -> Any:
        self.requests.append(request)
        return SimpleNamespace(id="j1", url="https://hub.example/j1", emulated=False, versions={"qairt": "2.51"})

    def profile(self, job: Any) -> dict[str, Any]:
        return self.profile_of_job


def test_microseconds_and_bytes_become_a_launch() -> None:
    seen = launch(PROFILE, "qairt 2.51", HostNotes(job="j1"))
    assert seen.samples_s == {"run": [0.002, 0.003]} and seen.totals() == [0.002, 0.003]
    assert (seen.cold_load_s, seen.warm_load_s, seen.peak_memory_bytes) == (0.5, 0.25, 4096)
    assert seen.engine == "AI Hub (qairt 2.51)" and seen.threads == 0
    assert seen.host.memory == {"inference": [1024, 4096]} and seen.host.compute_units == {"NPU": 1, "CPU": 1}
    assert "1 of 2 layers ran outside the NPU: nms" in seen.host.warning
    assert launch_from_json(launch_to_json(seen)) == seen


def test_a_device_runs_a_package_there(packages: dict[str, Path]) -> None:
    device, hub = AiHubDevice("Samsung Galaxy S25"), FakeHub(PROFILE)
    device.__dict__["hub"] = hub
    seen = device.run(packages["fp32"], Plan(iterations=7))
    assert seen.host.job == "j1" and seen.host.url.endswith("/j1") and not seen.host.emulated
    (request,) = hub.requests
    assert request.models == ("m1",) and request.device == "Samsung Galaxy S25" and "7" in request.options
    device.__dict__["hub"] = FakeHub({"execution_summary": {}})
    with pytest.raises(RemoteError, match="cannot be read"):
        device.run(packages["fp32"], Plan())


def test_what_it_does_not_run(packages: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="name of a device"):
        AiHubDevice().run(packages["fp32"], Plan())
    from edgekit.devices.aihub import chip_in

    package: Any = SimpleNamespace(manifest=SimpleNamespace(name="p", engine=SimpleNamespace(chips={"SM9999": "f"})))
    with pytest.raises(DeviceError, match="was not compiled for"):
        chip_in(package, FakeHub({}).device("phone"))
