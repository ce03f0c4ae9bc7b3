"""What this machine says of itself: chip, memory, clock policy, load. Standard library only."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from edgekit.runtime.cores import allowed_cores, cpu_flags


def cpu_model() -> str:
    """The processor's name, with the instruction sets that decide int8 speed on x86."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    fields = {
        key.strip(): value.strip()
        for key, _, value in (line.partition(":") for line in text.splitlines() if ":" in line)
    }
    name = fields.get("model name") or fields.get("Model") or fields.get("CPU part") or "unknown"
    flags = cpu_flags()
    notable = ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve"]
    present = [f for f in notable if f in flags]
    return f"{name} ({', '.join(present)})" if present else name


def memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def frequency_policy() -> str:
    """The clock governors of the cores, as `performance ×2`; "" where they cannot be read."""
    counts: dict[str, int] = {}
    for path in sorted(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")):
        try:
            governor = path.read_text(encoding="utf-8").strip()
        except OSError:
            continue
        counts[governor] = counts.get(governor, 0) + 1
    return ", ".join(f"{name} ×{count}" for name, count in counts.items())


def readings() -> dict[str, float]:
    """Load average over a minute, free memory in bytes and, where readable, the hottest zone in °C."""
    values: dict[str, float] = {}
    if hasattr(os, "getloadavg"):
        values["load_1min"] = os.getloadavg()[0]
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                values["memory_available_bytes"] = float(line.split()[1]) * 1024
    except OSError:
        pass
    zones = []
    for path in Path("/sys/class/thermal").glob("thermal_zone*/temp"):
        try:
            zones.append(int(path.read_text(encoding="utf-8")) / 1000)
        except (OSError, ValueError):
            continue
    if zones:
        values["hottest_celsius"] = max(zones)
    return values


def busy_share(seconds: float) -> float:
    """Share of the cores this process may use that is in use over the next `seconds`; 0 where the
    system does not say."""
    first = _jiffies()
    time.sleep(seconds)
    second = _jiffies()
    total = second[1] - first[1]
    return (second[0] - first[0]) / total if total > 0 else 0.0


def _jiffies() -> tuple[int, int]:
    """(busy, total) since boot, over the allowed cores."""
    allowed = {f"cpu{c}" for c in allowed_cores()}
    busy = total = 0
    try:
        rows = [line.split() for line in Path("/proc/stat").read_text(encoding="utf-8").splitlines()]
        for fields in ([int(v) for v in row[1:9]] for row in rows if row and row[0] in allowed):
            busy += sum(fields) - fields[3] - fields[4]  # without idle and waiting for disks
            total += sum(fields)
    except (OSError, ValueError, IndexError):
        return 0, 0
    return busy, total
