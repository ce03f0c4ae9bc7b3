"""What an Android phone says of itself: chip, system, cores and their clusters, battery, heat.

It is a stranger: every text is cut, and every number read within bounds.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from edgekit.devices.adb_transport import AdbTransport
from edgekit.devices.base import DeviceInfo
from edgekit.errors import DeviceError, UsageError
from edgekit.package.receipt import Provenance
from edgekit.system.redaction import printable
from edgekit.target import targets

_PROPERTIES = (
    "ro.product.manufacturer",
    "ro.product.model",
    "ro.soc.manufacturer",
    "ro.soc.model",
    "ro.board.platform",
    "ro.hardware",
    "ro.build.version.release",
    "ro.build.version.sdk",
    "ro.product.cpu.abilist",
    "ro.kernel.qemu",
    "ro.boot.qemu",
    "ro.hardware.virtual_device",
    "ro.serialno",
)
_VIRTUAL = ("ro.kernel.qemu", "ro.boot.qemu", "ro.hardware.virtual_device")
# Of all that a phone could say, what is looked at. `dumpsys` asks services of Android.
_QUESTION = (
    f'for name in {" ".join(_PROPERTIES)}; do echo "property $name $(getprop $name | head -n 1)"; done\n'
    + """dumpsys battery | head -n 40
echo "thermal"; dumpsys thermalservice | head -n 300
head -n 3 /proc/meminfo
cd /sys/devices/system/cpu && echo cores cpu[0-9]* && grep -H "" cpu[0-9]*/cpu_capacity \
cpu[0-9]*/cpufreq/cpuinfo_max_freq cpu[0-9]*/cpufreq/scaling_cur_freq cpu[0-9]*/cpufreq/scaling_governor"""
)
_HEAT = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
_SEVERE = 3
_SENSORS = {0: "cpu_celsius", 2: "battery_celsius", 3: "skin_celsius"}  # Android's types of thermal sensors
_LOW = 15  # percent of the battery, from where on phones save power
_MOST_CORES = 256
_CORE = re.compile(r"^cpu(\d{1,3})/(?:cpufreq/)?(cpu_capacity|cpuinfo_max_freq|scaling_cur_freq):(\d{1,9})$", re.M)
_GOVERNOR = re.compile(r"^cpu\d{1,3}/cpufreq/scaling_governor:([\w-]{1,40})$", re.M)
_SENSOR = re.compile(r"Temperature\{mValue=(-?\d{1,3}(?:\.\d{1,9})?), mType=(\d), ")
_FIELD = re.compile(r"^  ([A-Za-z ]{1,40}): (\S{1,20})$", re.M)


@dataclass(frozen=True)
class Core:
    """0: the phone does not say. `capacity`: beside other cores of the phone, of which the fastest has 1024."""

    number: int
    capacity: int
    most_khz: int
    khz: int


@dataclass(frozen=True)
class Phone:
    """What a phone said at one moment. None: it did not say. `heat`: 0 to 6, Android's thermal status."""

    properties: Mapping[str, str]
    battery_percent: int | None
    charging: bool
    celsius: Mapping[str, float]
    heat: int | None
    memory_bytes: int
    cores: tuple[Core, ...]
    governors: Mapping[str, int]  # how many cores have each

    @property
    def abis(self) -> tuple[str, ...]:
        """What it runs, the best first: ("arm64-v8a", "armeabi-v7a")."""
        return tuple(filter(None, self._property("ro.product.cpu.abilist").split(",")))

    @property
    def emulated(self) -> bool:
        """Whether there is no phone behind it: its time is the time of another machine."""
        virtual = self._property("ro.hardware").startswith(("goldfish", "ranchu", "cutf", "vsoc"))
        return virtual or "1" in {self._property(name) for name in _VIRTUAL}

    @property
    def clusters(self) -> list[tuple[Core, ...]]:
        """Cores that are alike, the slowest first."""
        kinds = sorted({(c.capacity, c.most_khz) for c in self.cores})
        return [tuple(c for c in self.cores if (c.capacity, c.most_khz) == kind) for kind in kinds]

    def mask(self, cores: str) -> int:
        """Bits of the cores that are meant by a hexadecimal mask, or by `little`, `big` (all that are not the slowest)
        or `prime` (the fastest). Raises UsageError for what means none of them."""
        clusters = self.clusters
        groups = {"little": clusters[:1], "big": clusters[1:], "prime": clusters[-1:]} if len(clusters) > 1 else {}
        if cores in groups:
            return sum(1 << c.number for cluster in groups[cores] for c in cluster)
        exists = sum(1 << c.number for c in self.cores)
        digits = cores.lower().removeprefix("0x")
        number = int(digits, 16) if re.fullmatch(r"[0-9a-f]{1,64}", digits) else 0
        if not number or (exists and number & ~exists):
            raise UsageError(
                f"cores = {cores} means no cores of this phone",
                f"it has {self.clusters_in_words() or 'cores that it does not describe'}",
                "use " + "".join(f"{name}, " for name in groups) + f"or a mask of them in hexadecimal, as {exists:x}",
            )
        return number

    def clusters_in_words(self) -> str:
        """As "6x 3.5 GHz + 2x 4.3 GHz"; "" where it does not say."""
        return " + ".join(f"{len(c)}x {c[0].most_khz / 1e6:.1f} GHz" for c in self.clusters if c[0].most_khz)

    def info(self, name: str) -> DeviceInfo:
        """As records keep it: of the serial, there is a hash."""
        soc = f"{self._property('ro.soc.manufacturer')} {self._property('ro.soc.model')}".strip()
        model = f"{self._property('ro.product.manufacturer')} {self._property('ro.product.model')}".strip()
        release, level = self._property("ro.build.version.release"), self._property("ro.build.version.sdk")
        serial = self._property("ro.serialno")
        battery = [f"{self.battery_percent} %"] if self.battery_percent is not None else []
        battery += [f"{self.celsius['battery_celsius']:.1f} °C"] if "battery_celsius" in self.celsius else []
        battery += ["charging"] if self.charging else []
        facts = {
            "model": model,
            "targets": ", ".join(recognised(self._property("ro.soc.model"))),
            "platform": self._property("ro.board.platform"),
            "abi": ", ".join(self.abis),
            "clusters": self.clusters_in_words(),
            "frequency_policy": ", ".join(f"{name} ×{count}" for name, count in self.governors.items()),
            "battery": ", ".join(battery),
            "thermal_status": _HEAT[self.heat] if self.heat is not None else "",
            "identity": hashlib.sha256(serial.encode("utf-8")).hexdigest()[:12] if serial else "",
            "emulated": "yes: its time says nothing about a phone" if self.emulated else "",
        }
        return DeviceInfo(
            name,
            soc or self._property("ro.board.platform") or self._property("ro.hardware") or "not said",
            f"Android {release or '(version not said)'}" + (f" (API {level})" if level else ""),
            len(self.cores),
            self.memory_bytes,
            {key: value for key, value in facts.items() if value},
            Provenance.SIMULATED if self.emulated else Provenance.MEASURED,
        )

    def readings(self) -> dict[str, float]:
        """Beside a launch: temperatures in °C, the battery in percent, the thermal status, the fastest clock in MHz."""
        values = dict(self.celsius)
        if self.battery_percent is not None:
            values["battery_percent"] = float(self.battery_percent)
        if self.heat is not None:
            values["thermal_status"] = float(self.heat)
        if clock := max((c.khz for c in self.cores), default=0):
            values["fastest_core_mhz"] = clock / 1000
        return values

    def warnings(self) -> list[str]:
        """What makes figures of this moment suspect."""
        found = []
        if self.heat is not None and self.heat >= _SEVERE:
            found.append(f"the phone was hot and slowed itself down: thermal status {_HEAT[self.heat]}")
        if self.battery_percent is not None and self.battery_percent < _LOW and not self.charging:
            found.append(f"the battery was at {self.battery_percent} % and not charging, where phones save power")
        return found

    def _property(self, name: str) -> str:
        return self.properties.get(name, "")


def ask(transport: AdbTransport, timeout_s: float) -> Phone:
    """Raises DeviceError for a phone that does not answer, or says nothing of what was asked."""
    said = transport.ask(f"{{ {_QUESTION}\n}} 2>/dev/null", timeout_s).output[: 2**20]
    if not said.startswith("property "):
        raise DeviceError(f"{transport.place} does not answer as Android does", said[:100], "adb -s SERIAL shell")
    return read(said)


def read(said: str) -> Phone:
    """From the answer to the question above."""
    properties = {}
    for line in said.splitlines():
        if line.startswith("property "):
            name, _, value = line.removeprefix("property ").partition(" ")
            properties[name] = printable(value.strip()[:100])
    described, _, rest = said.partition("\nthermal\n")
    battery = dict(_FIELD.findall(described))
    level, scale = _whole(battery.get("level")), _whole(battery.get("scale")) or 100
    tenths = _whole(battery.get("temperature"))
    celsius: dict[str, float] = {}
    for value, kind in _SENSOR.findall(_section(rest)):
        if sensor := _SENSORS.get(int(kind)):
            celsius[sensor] = max(float(value), celsius.get(sensor, -273.0))
    celsius |= {} if tenths is None else {"battery_celsius": tenths / 10}
    heat = re.search(r"^Thermal Status: ([0-6])$", rest, re.M)
    memory = re.search(r"^MemTotal: +(\d{1,12}) kB$", rest, re.M)
    return Phone(
        properties,
        None if level is None else max(0, min(100, round(100 * level / scale))),
        battery.get("status") in ("2", "5")
        or "true" in {battery.get(f"{n} powered") for n in ("AC", "USB", "Wireless")},
        celsius,
        int(heat[1]) if heat else None,
        int(memory[1]) * 1024 if memory else 0,
        _cores(rest),
        Counter(_GOVERNOR.findall(rest)[:_MOST_CORES]),
    )


def recognised(soc: str) -> list[str]:
    """Names of the targets whose chip gives itself that model number, as SM8750."""
    return [t.name for t in targets().values() if soc and any(soc in chip.android for chip in t.chips)]


def _section(thermal: str) -> str:
    """What the sensors say now, not what was remembered, where a phone tells the two apart."""
    return thermal.partition("Current temperatures from HAL:")[2].partition("\nCurrent cooling")[0] or thermal


def _cores(said: str) -> tuple[Core, ...]:
    listed = re.search(r"^cores ((?:cpu\d{1,3} ?)+)$", said, re.M)
    values: dict[int, dict[str, int]] = {int(n): {} for n in re.findall(r"cpu(\d+)", listed[1])} if listed else {}
    for number, name, value in _CORE.findall(said):
        values.setdefault(int(number), {})[name] = int(value)
    return tuple(
        Core(n, v.get("cpu_capacity", 0), v.get("cpuinfo_max_freq", 0), v.get("scaling_cur_freq", 0))
        for n, v in sorted(values.items())[:_MOST_CORES]
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"-?\d{1,6}", text) else None
