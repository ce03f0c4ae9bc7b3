"""What this machine says of itself: chip, memory, clock policy, load. Standard library only."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from pathlib import Path

from edgekit.devices.meters import meters
from edgekit.runtime.cores import allowed_cores, cpu_flags

# MIDR part numbers of cores by ARM (implementer 0x41), as Linux's arch/arm64/include/asm/cputype.h names them.
_ARM_CORES = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4B: "Cortex-A78C",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
}


def cpu_model() -> str:
    """The processor's name, with the instruction sets that decide int8 speed. ARM's cores have part numbers only: their
    names are those of the kernel, as `4 x Cortex-A76`, after the board's where it has a device tree."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    lines = [(key.strip(), value.strip()) for key, _, value in (line.partition(":") for line in text.splitlines())]
    fields = dict(lines)
    parts = Counter(value for key, value in lines if key == "CPU part")
    cores = " + ".join(f"{count} x {_core(part)}" for part, count in parts.items())
    name = fields.get("model name") or ", ".join(n for n in (board(), cores) if n) or fields.get("Model") or "unknown"
    flags = cpu_flags()
    notable = ["avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve"]
    present = [f for f in notable if f in flags]
    return f"{name} ({', '.join(present)})" if present else name


def _core(part: str) -> str:
    try:
        return _ARM_CORES.get(int(part, 16), part)
    except ValueError:
        return part


def board() -> str:
    """What the device tree calls the board, as `Raspberry Pi 5 Model B Rev 1.0`; "" without one."""
    try:
        return Path("/proc/device-tree/model").read_text(encoding="utf-8").strip("\0\n ")
    except (OSError, UnicodeDecodeError):
        return ""


def emulator() -> str:
    """What runs this process in another processor's stead, whose time says nothing of that one; "" for none.

    User-mode qemu passes on most of /proc, and there the process goes by the emulator's own name.
    """
    try:
        name = Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if name.startswith("qemu-") else ""


def system_name() -> str:
    """The distribution's name where it says, as `Debian GNU/Linux 12 (bookworm)`; "" where it does not."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


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
    """Load average over a minute, free memory in bytes, and what `devices.meters` reads."""
    values: dict[str, float] = {}
    if hasattr(os, "getloadavg"):
        values["load_1min"] = os.getloadavg()[0]
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                values["memory_available_bytes"] = float(line.split()[1]) * 1024
    except OSError:
        pass
    values.update(meters())
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
