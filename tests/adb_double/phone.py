"""What the double is told to be: its folders, properties and faults."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

MODEL = "adb double (no phone)"
HERE = Path(__file__).parent
_ROOTS = re.compile(r"(?<![\w.}])/(data/local/tmp|sys|proc)(?=/|\b)")

PROPERTIES = {
    "ro.product.manufacturer": "edgekit",
    "ro.product.model": MODEL,
    "ro.soc.manufacturer": "QTI",
    "ro.soc.model": "SM8750",
    "ro.board.platform": "sun",
    "ro.build.version.release": "15",
    "ro.build.version.sdk": "35",
    "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a",
    "ro.boot.qemu": "1",
    "ro.serialno": "DOUBLE0001",
}
BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: {usb}
  Wireless powered: false
  Max charging current: 500000
  status: {status}
  health: 2
  present: true
  level: {level}
  scale: 100
  voltage: 4123
  temperature: 281
  technology: Li-ion
"""
THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 1
Thermal Status: {status}
Cached temperatures:
\tTemperature{{mValue=99.0, mType=3, mName=skin, mStatus=0}}
HAL Ready: true
Current temperatures from HAL:
\tTemperature{{mValue=51.5, mType=0, mName=CPU0, mStatus=0}}
\tTemperature{{mValue=33.25, mType=3, mName=skin, mStatus={status}}}
Current cooling devices from HAL:
\tCoolingDevice{{mValue=0, mType=2, mName=thermal-cpufreq-0}}
"""
CLUSTERS = ((6, 3_532_800, 380_000, 792), (2, 4_320_000, 1_017_600, 1024))  # cores, kHz at most and now, capacity


@dataclass
class Faults:
    """What goes wrong, until it is told otherwise. `unplugged_by`: a word of the command that starts first.
    `unplugged_at_bytes`: of a file that arrives."""

    unauthorised: bool = False
    offline: bool = False  # nobody takes up a connection
    silent: bool = False  # it is there, and opens no stream
    unplugged_by: str = ""
    unplugged_at_bytes: int | None = None
    room_bytes: int | None = None  # what files may have in all
    slow_s: float = 0.0  # before each command and file


@dataclass
class Phone:
    """`folder`: its /data/local/tmp, /sys, /proc and what it says of itself lie there."""

    folder: Path
    faults: Faults = field(default_factory=Faults)
    commands: list[str] = field(default_factory=list)  # as they came
    sent: list[str] = field(default_factory=list)  # paths of files that came whole

    def __post_init__(self) -> None:
        for name, value in PROPERTIES.items():
            self.set_property(name, value)
        self.set_battery(85, True)
        self.set_thermal(0)
        self.write("data/local/tmp/.keep", "")
        self.write(
            "proc/meminfo", "MemTotal:       15728640 kB\nMemFree:         1048576 kB\nMemAvailable: 8388608 kB\n"
        )
        number = 0
        for count, most, now, capacity in CLUSTERS:
            for _ in range(count):
                cpu = f"sys/devices/system/cpu/cpu{number}"
                self.write(f"{cpu}/cpufreq/cpuinfo_max_freq", f"{most}\n")
                self.write(f"{cpu}/cpufreq/scaling_cur_freq", f"{now}\n")
                self.write(f"{cpu}/cpufreq/scaling_governor", "walt\n")
                self.write(f"{cpu}/cpu_capacity", f"{capacity}\n")
                number += 1

    def set_property(self, name: str, value: str) -> None:
        self.write(f"properties/{name}", value + "\n")

    def set_battery(self, percent: int, charging: bool) -> None:
        usb = "true" if charging else "false"
        self.write("dumpsys/battery", BATTERY.format(level=percent, usb=usb, status=2 if charging else 3))

    def set_thermal(self, status: int) -> None:
        self.write("dumpsys/thermalservice", THERMAL.format(status=status))

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def here(self, text: str) -> str:
        """A path of the phone, or a command that names some, as paths of this machine."""
        return _ROOTS.sub(lambda found: f"{self.folder}/{found[1]}", text)

    def environment(self) -> dict[str, str]:
        """Of its shell: tools that differ here come first."""
        path = f"{HERE / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {"PATH": path, "ADB_DOUBLE": str(self.folder), "ADB_DOUBLE_PYTHON": sys.executable, "LC_ALL": "C.UTF-8"}

    def banner(self) -> bytes:
        about = f"ro.product.name=double;ro.product.model={MODEL};ro.product.device=double"
        return f"device::{about};features=shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir".encode()
