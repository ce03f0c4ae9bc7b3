"""Which devices can be reached now: all asked at once, each for so long and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit import registry
from edgekit.devices.address import kind_of, open_device, timed_device
from edgekit.devices.base import DeviceInfo
from edgekit.devices.care import Nearby
from edgekit.devices.lab import LabDevice, lab_devices
from edgekit.errors import EdgekitError, UsageError, first_line
from edgekit.target import targets

PATIENCE_S = 1.7  # for all of them, so that a list is there within two seconds
_LONG_S = 60.0  # for one that was named


@dataclass(frozen=True)
class Asked:
    """A device that answered, with `info`, or did not, with the `problem`. `targets`: by name, those whose packages
    `convert` can time there."""

    address: str
    info: DeviceInfo | None = None
    problem: str = ""
    targets: tuple[str, ...] = ()


def everything() -> list[LabDevice]:
    """Each kind on its own, then what `devices.toml` names."""
    kinds = [LabDevice(kind, kind, "", {}) for kind in registry.names("devices")]
    return [*kinds, *lab_devices()]


def one(address: str) -> list[Asked]:
    """A device or a kind, asked for as long as it takes. Raises what it raises."""
    device = open_device(address)
    infos = device.listing()
    device.finished()
    return [Asked(info.name, info, targets=measured_on(address)) for info in infos]


def ask(devices: Sequence[LabDevice]) -> list[Asked]:
    """In the order given. Who has not answered in time is said not to have. Raises UsageError for settings that cannot be
    used: what is wrong with them is wrong with all."""
    answers: dict[str, list[Asked]] = {}
    wrong: list[UsageError] = []
    threads = [threading.Thread(target=_ask, args=(d, answers, wrong), daemon=True) for d in devices]
    for thread in threads:
        thread.start()
    until = time.monotonic() + PATIENCE_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    if wrong:
        raise wrong[0]
    late = f"no answer within {PATIENCE_S:g} s; edgekit devices NAME waits longer"
    rows = [answers.get(d.name) or [Asked(d.name, problem=late, targets=_targets(d))] for d in devices]
    return [row for answer in rows for row in answer]


def _ask(device: LabDevice, answers: dict[str, list[Asked]], wrong: list[UsageError]) -> None:
    try:
        opened = open_device(device.name)
        infos = opened.nearby() if isinstance(opened, Nearby) else [opened.info()]
        own = device.name != device.address or not isinstance(opened, Nearby)  # a kind may know of several
        rows = [Asked(device.name if own else i.name, i, targets=_targets(device)) for i in infos]
    except UsageError as error:
        wrong.append(error)
        rows = []
    except EdgekitError as error:
        rows = [Asked(device.name, problem=error.what, targets=_targets(device))]
    except Exception as error:  # of a plug-in, which must not hide the others
        rows = [Asked(device.name, problem=first_line(error))]
    answers[device.name] = rows


def _targets(device: LabDevice) -> tuple[str, ...]:
    return (device.target,) if device.target else measured_on(device.address)


def measured_on(address: str) -> tuple[str, ...]:
    """Targets, by name, whose packages `convert -d ADDRESS` times."""
    kind = kind_of(address)
    return tuple(name for name, t in targets().items() if timed_device(t.devices, kind))
