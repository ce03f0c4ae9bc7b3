"""What a device's shell says of it before anything of edgekit is there: system, Python, C library, clock."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from edgekit.devices.base import Transport
from edgekit.devices.bundle import Machine
from edgekit.devices.stock import shell
from edgekit.errors import DeviceError

_OLDEST = (3, 11)
_PATIENCE = 120.0
_CLOCK_S = 24 * 3600.0  # by how much a device's clock may be wrong
_ARCHITECTURES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64", "amd64": "x86_64"}

_LOOK = """
echo "system=$(uname -s)"; echo "kernel=$(uname -r) $(uname -m)"; echo "home=$HOME"; echo "clock=$(date +%s)"
echo "board=$(tr -d '\\0' < /proc/device-tree/model 2>/dev/null)"; echo "cores=$(nproc 2>/dev/null)"
grep -m 1 '^model name' /proc/cpuinfo; grep '^MemTotal' /proc/meminfo; grep '^PRETTY_NAME=' /etc/os-release
for python in $1 python3.14 python3.13 python3.12 python3.11 python3 python; do
    found=$(command -v "$python") || continue
    "$found" -c 'if 1:
        import platform, struct, sys, sysconfig
        names = platform.libc_ver()
        if not names[0] and "musl" in (sysconfig.get_config_var("HOST_GNU_TYPE") or ""):
            names = ("musl", "1.2")
        print("python=%s|%d.%d|%s|%d|%s %s" % (sys.argv[1], sys.version_info[0], sys.version_info[1],
              platform.machine(), struct.calcsize("P") * 8, names[0], names[1]))' "$found" 2>/dev/null
done
true
"""


@dataclass(frozen=True)
class Shell:
    """`wheels`: what wheels must fit to run in `python`, an interpreter there. `cores` and `memory_bytes`: 0 where it
    does not say."""

    home: str
    python: str
    wheels: Machine
    chip: str
    system: str
    cores: int
    memory_bytes: int


def look_at(transport: Transport, python: str = "") -> Shell:
    """`python`: the interpreter to take; "" for the newest that is old enough for edgekit.

    Raises DeviceError for a system that is no Linux, without such a Python, of another processor, or whose clock is
    off by more than a day.
    """
    said = shell(transport, _LOOK, python, timeout_s=_PATIENCE).output
    lines = [line.partition("=") for line in said.splitlines()]
    facts = {key: value.strip()[:300] for key, _, value in lines if key != "python"}
    pythons = [p for p in (_python(value) for key, _, value in lines if key == "python") if p]
    place = transport.place
    if facts.get("system") != "Linux":
        raise DeviceError(
            f"{place} is no Linux", f"uname says {facts.get('system') or 'nothing'}", "edgekit measures Linux over SSH"
        )
    if not facts.get("home", "").startswith("/"):
        raise DeviceError(f"{place} names no home folder", "", "name a folder there: folder = PATH in devices.toml")
    _check_clock(place, facts.get("clock", ""))
    fits = [p for p in pythons if p.wheels.python >= _OLDEST]
    if python:
        fits = [p for p in pythons if p.path == python or p.path.endswith("/" + python)]
    if not fits:
        versions = ", ".join(sorted({f"{p.path} is {p.wheels.python[0]}.{p.wheels.python[1]}" for p in pythons}))
        raise DeviceError(
            f"{place} has no {python or 'Python 3.11 or later'}",
            versions or "no python3 is on its PATH",
            "install one there (apt install python3, or uv python install 3.13), or name it: python = PATH in devices.toml",
        )
    best = fits[0] if python else max(fits, key=lambda p: p.wheels.python)
    if best.wheels.architecture not in _ARCHITECTURES.values() or best.bits != 64:
        raise DeviceError(
            f"{place} is a {best.bits}-bit {best.wheels.architecture}",
            "engines are published for 64-bit ARM and x86",
            "install a 64-bit system there",
        )
    memory = re.search(r"^MemTotal:\s*(\d{1,15}) kB", said, re.MULTILINE)
    model = re.search(r"^model name\s*: (.{1,100})", said, re.MULTILINE)
    return Shell(
        home=facts["home"],
        python=best.path,
        wheels=best.wheels,
        chip=facts.get("board") or (model[1] if model else best.wheels.architecture),
        system=f"{facts.get('PRETTY_NAME', 'Linux').strip(chr(34))}, {facts.get('kernel', '')}",
        cores=int(facts["cores"]) if facts.get("cores", "").isdecimal() else 0,
        memory_bytes=int(memory[1]) * 1024 if memory else 0,
    )


@dataclass(frozen=True)
class _Python:
    path: str
    bits: int
    wheels: Machine


def _python(text: str) -> _Python | None:
    """From a line that the script above prints; None for one that is none of its own."""
    try:
        path, version, machine, bits, libc = text.strip().split("|")
        major, minor = (int(n) for n in version.split("."))
        return _Python(path, int(bits), Machine(_ARCHITECTURES.get(machine.lower(), machine), (major, minor), libc))
    except ValueError:
        return None


def _check_clock(place: str, seconds: str) -> None:
    off = (int(seconds) if seconds.isdecimal() and len(seconds) < 15 else 0) - time.time()
    if abs(off) > _CLOCK_S:
        days = abs(off) / 86400
        much = f"{days / 365.25:.0f} years" if days > 730 else f"{days:.0f} days"
        raise DeviceError(
            f"The clock of {place} is {much} {'fast' if off > 0 else 'slow'}",
            "what is measured there would be dated wrongly, and certificates would not hold",
            "set it: sudo timedatectl set-ntp true, or sudo date -s @" + str(int(time.time())),
        )
