"""What this machine's own meters say: clock, heat, battery, throttling, energy. Nothing is modelled: no meter, no figure.

Standard library only. Paths are Linux's (Documentation/ABI in its sources); elsewhere there are none.
"""

from __future__ import annotations

from pathlib import Path

from edgekit.runtime.cores import allowed_cores

_CPU = Path("/sys/devices/system/cpu")
_ZONES = Path("/sys/class/thermal")
_SUPPLIES = Path("/sys/class/power_supply")
_RAPL = Path("/sys/class/powercap")
_FIRMWARE = Path("/sys/devices/platform/soc/soc:firmware/get_throttled")  # of a Raspberry Pi
_THROTTLED_NOW = 0x6  # bits there: the clock is capped, the processor is throttled


def meters() -> dict[str, float]:
    """By name, of those that there are:

    clock_mhz: mean over the allowed cores. hottest_celsius: the hottest thermal zone. battery_percent. throttle_events:
    how often the processor throttled since it started (Intel counts); throttled_now: 1 while a Raspberry Pi does.
    energy_j: since some moment in the past, of the processor's package (RAPL). supply_watts: of a battery now.
    """
    values = {
        "clock_mhz": _mean([v / 1000 for c in allowed_cores() if (v := _number(_clock(c))) is not None]),
        "hottest_celsius": max(
            (v / 1000 for v in _numbers(_ZONES, "thermal_zone*/temp") if 0 < v < 200_000), default=None
        ),
        "battery_percent": next(iter(_numbers(_SUPPLIES, "*/capacity")), None),
        "throttle_events": _total(_numbers(_CPU, "cpu[0-9]*/thermal_throttle/core_throttle_count")),
        "throttled_now": _firmware(),
        "energy_j": _total([v / 1e6 for v in _numbers(_RAPL, "intel-rapl:[0-9]/energy_uj")]),
        "supply_watts": _watts(),
    }
    return {name: value for name, value in values.items() if value is not None}


def energy_meter() -> str:
    """What `energy_j` is read from; "" where nothing is."""
    names = [p.parent / "name" for p in _RAPL.glob("intel-rapl:[0-9]/energy_uj") if _number(p) is not None]
    return "RAPL " + ", ".join(_text(n) for n in names) if names else ""


def _clock(core: int) -> Path:
    return _CPU / f"cpu{core}/cpufreq/scaling_cur_freq"


def _firmware() -> float | None:
    text = _text(_FIRMWARE)
    try:
        return float(bool(int(text, 16) & _THROTTLED_NOW)) if text else None
    except ValueError:
        return None


def _watts() -> float | None:
    for supply in sorted(_SUPPLIES.glob("*")):
        if _text(supply / "type") != "Battery" or _text(supply / "status") != "Discharging":
            continue
        power, volts, amperes = (_number(supply / n) for n in ("power_now", "voltage_now", "current_now"))
        if power is not None:
            return abs(power) / 1e6
        if volts is not None and amperes is not None:
            return abs(volts * amperes) / 1e12
    return None


def _numbers(folder: Path, pattern: str) -> list[float]:
    return [v for path in sorted(folder.glob(pattern)) if (v := _number(path)) is not None]


def _total(values: list[float]) -> float | None:
    return sum(values) if values else None


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()[:100]
    except (OSError, UnicodeDecodeError):
        return ""
