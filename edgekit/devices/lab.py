"""A lab's devices: `devices.toml` in the user's settings, a `[[device]]` table each. No code, no secrets.

    [[device]]
    name = "pi5"
    address = "ssh:pi@192.168.1.7"
    class = "raspberry-pi-5"
    python = "/usr/bin/python3.13"

`name`, `address` and `class` are of every device; the rest are options of its kind, as text or numbers.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit import registry
from edgekit.errors import UsageError, guard
from edgekit.settings import config_folder
from edgekit.system.documents import read_utf8

_LARGEST = 2**20  # bytes of the file
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class LabDevice:
    """A device by name. `options`: of its kind."""

    name: str
    address: str
    target: str  # the target that it stands for, `class` in the file; "" for none
    options: Mapping[str, str]


def lab_file() -> Path:
    """EDGEKIT_DEVICES, else `devices.toml` beside the user's settings; never of the current folder."""
    return Path(os.environ.get("EDGEKIT_DEVICES") or config_folder() / "devices.toml")


def lab_devices() -> list[LabDevice]:
    """Raises UsageError naming what cannot be used in the file; none without a file."""
    path = lab_file()
    if not path.exists() and "EDGEKIT_DEVICES" not in os.environ:
        return []
    with guard(UsageError, f"The devices in {path} cannot be used", "see docs/profiling.md for its fields"):
        data = tomllib.loads(read_utf8(path, _LARGEST))
        unknown = sorted(data.keys() - {"device"})
        if unknown or not isinstance(data.get("device", []), list):
            raise ValueError(f"it holds [[device]] tables and nothing else, not {', '.join(unknown) or 'device = …'}")
        devices = [_device(table, number) for number, table in enumerate(data.get("device", []), 1)]
        names = [d.name for d in devices]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"two devices are called {twice[0]}")
    return devices


def find_named(name: str) -> LabDevice | None:
    """Raises UsageError as `lab_devices`."""
    return next((d for d in lab_devices() if d.name == name), None)


def _device(table: object, number: int) -> LabDevice:
    if not isinstance(table, dict):
        raise ValueError(f"device {number} is no table")
    texts: dict[str, str] = {}
    for key, value in table.items():
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            raise ValueError(f"device {number} sets {key} to what is no text and no number")
        texts[key] = str(value)
    name, address = texts.pop("name", ""), texts.pop("address", "")
    if not _NAME.fullmatch(name) or name in registry.names("devices"):
        raise ValueError(f"device {number} needs a name of letters and digits that is no kind of device, not {name!r}")
    if address.partition(":")[0] not in registry.names("devices"):
        known = ", ".join(registry.names("devices"))
        raise ValueError(f"{name} needs an address of a kind that there is ({known}), not {address!r}")
    return LabDevice(name, address, texts.pop("class", ""), texts)
