"""What stands in the way of running a package on a device: one row for each thing people trip over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.address import open_device
from edgekit.diagnosis import aihub, engine, snapdragon
from edgekit.diagnosis.base import Check, Machine, State
from edgekit.errors import IntegrityError
from edgekit.package import Package

__all__ = ["Check", "Machine", "State", "examine"]


@dataclass(frozen=True)
class _Place:
    """What is known of a kind of device. `checks`: of a package there, by the device's own name, seen from a machine."""

    checks: Callable[[Package, str, Machine], list[Check]]
    opens_here: bool = False  # by an engine that is installed on this machine
    simulates: bool = False
    is_phone: bool = False


def examine(path: str | Path, device: str = "local", machine: Machine | None = None) -> list[Check]:
    """`machine`: what to look at instead of this one, for tests. Nothing is sent to any network.

    Raises UsageError for a device there is none of, IntegrityError where there is no package.
    """
    open_device(device)
    kind, _, name = device.partition(":")
    place = _PLACES.get(kind) or _Place(_unknown(kind))
    try:
        package = Package(path)
    except IntegrityError as error:
        if not Path(path).exists():
            raise
        return [engine.damaged(error)]
    rows = [engine.integrity(package), *([engine.library(package.manifest.engine)] if place.opens_here else [])]
    here = machine or Machine.here()
    of_chips = bool(package.manifest.engine.chips)  # compiled for Snapdragons; what any processor opens names none
    if of_chips:
        runs_on = here if place.opens_here and not place.simulates else None
        rows += [snapdragon.toolchain(package, place.opens_here), snapdragon.precision(package, runs_on)]
    rows += place.checks(package, name, here)
    if place.opens_here and not any(r.state is State.PROBLEM for r in rows):
        rows.append(engine.trial(package, simulate=place.simulates))
    if of_chips:
        rows += snapdragon.app(package, on_phone=place.is_phone)
    return rows


def _this_machine(package: Package, name: str, here: Machine) -> list[Check]:
    if not package.manifest.engine.chips:
        return []
    return [snapdragon.chip(package, here), *snapdragon.surroundings(package, here)]


def _simulator(package: Package, name: str, here: Machine) -> list[Check]:
    """Of Snapdragons only, and on x86 Linux only."""
    if not package.manifest.engine.chips:
        engine_name = package.manifest.engine.name
        says = f"it runs packages of a Snapdragon, and this one is for {engine_name}"
        return [Check("simulator", State.PROBLEM, says, "--device local")]
    if not here.simulates:
        says = f"Qualcomm's library simulates on x86 Linux only, not on {here}"
        return [Check("simulator", State.PROBLEM, says, "run this there")]
    return [Check("simulator", State.OK, f"{here}: numbers, never time")]


def _unknown(kind: str) -> Callable[[Package, str, Machine], list[Check]]:
    says = f"nothing is known here about devices of the kind {kind}"
    return lambda package, name, here: [Check("device", State.UNKNOWN, says)]


_PLACES = {
    "local": _Place(_this_machine, opens_here=True),
    "sim": _Place(_simulator, opens_here=True, simulates=True),
    "aihub": _Place(aihub.checks),
    "adb": _Place(_unknown("adb"), is_phone=True),
}
