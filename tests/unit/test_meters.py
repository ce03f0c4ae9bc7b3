"""A machine's own meters, read from folders that look like Linux's."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.devices import meters


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("_CPU", "_ZONES", "_SUPPLIES", "_RAPL"):
        monkeypatch.setattr(meters, name, tmp_path / name)
    monkeypatch.setattr(meters, "_FIRMWARE", tmp_path / "get_throttled")
    monkeypatch.setattr(meters, "allowed_cores", lambda: [0, 1])
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_without_meters_there_are_no_figures(tree: Path) -> None:
    assert meters.meters() == {} and meters.energy_meter() == ""


def test_each_meter(tree: Path) -> None:
    for core, kilohertz in enumerate((1_500_000, 2_400_000)):
        write(tree / "_CPU" / f"cpu{core}/cpufreq/scaling_cur_freq", f"{kilohertz}\n")
        write(tree / "_CPU" / f"cpu{core}/thermal_throttle/core_throttle_count", "2")
    write(tree / "_ZONES" / "thermal_zone0/temp", "61500")
    write(tree / "_ZONES" / "thermal_zone1/temp", "-274000")  # a sensor that is off
    write(tree / "get_throttled", "50004\n")
    write(tree / "_RAPL" / "intel-rapl:0/energy_uj", "12500000")
    write(tree / "_RAPL" / "intel-rapl:0/name", "package-0")
    battery = tree / "_SUPPLIES" / "BAT0"
    for name, text in {
        "type": "Battery",
        "status": "Discharging",
        "capacity": "83",
        "voltage_now": "11000000",
        "current_now": "-500000",
    }.items():
        write(battery / name, text)
    assert meters.meters() == {
        "clock_mhz": 1950.0,
        "hottest_celsius": 61.5,
        "battery_percent": 83.0,
        "throttle_events": 4.0,
        "throttled_now": 1.0,
        "energy_j": 12.5,
        "supply_watts": 5.5,
    }
    assert meters.energy_meter() == "RAPL package-0"
    write(battery / "status", "Charging")  # what flows then is not what the machine uses
    assert "supply_watts" not in meters.meters()


@pytest.mark.parametrize("text", ["", "no number", "0x", "\xff"])
def test_meters_that_say_nonsense(tree: Path, text: str) -> None:
    write(tree / "get_throttled", text)
    write(tree / "_ZONES" / "thermal_zone0/temp", text)
    assert meters.meters() == {}
