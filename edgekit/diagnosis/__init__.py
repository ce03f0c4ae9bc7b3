"""What stands in the way of running a package on a device: one row for each thing people trip over."""

from __future__ import annotations

from pathlib import Path

from edgekit.devices.address import open_device
from edgekit.diagnosis import aihub, engine, snapdragon
from edgekit.diagnosis.base import Check, Machine, State
from edgekit.errors import IntegrityError, UsageError
from edgekit.package import Package

__all__ = ["Check", "Machine", "State", "examine"]


def examine(path: str | Path, device: str = "local", machine: Machine | None = None) -> list[Check]:
    """`machine`: what to look at instead of this one, for tests. Nothing is sent to any network.

    Raises UsageError for a device there is none of, IntegrityError where there is no package.
    """
    open_device(device)
    kind, _, name = device.partition(":")
    if kind == "aihub" and not name:
        raise UsageError(
            "aihub needs the name of a device", "", "as -d 'aihub:Samsung Galaxy S25'; edgekit devices aihub lists them"
        )
    try:
        package = Package(path)
    except IntegrityError as error:
        if not Path(path).exists():
            raise
        return [engine.damaged(error)]
    local = kind in ("local", "sim")
    rows = [engine.integrity(package), *([engine.library(package.manifest.engine)] if local else [])]
    here = machine or Machine.here()
    chips = package.manifest.engine.chips  # what was compiled for chips is for Snapdragons: others open what any opens
    if chips:
        rows += [snapdragon.toolchain(package, local), snapdragon.precision(package, here if kind == "local" else None)]
    rows += _of_device(package, kind, name, here)
    if local and not any(r.state is State.PROBLEM for r in rows):
        rows.append(engine.trial(package, simulate=kind == "sim"))
    if chips:
        rows += snapdragon.app(package, on_phone=kind == "adb")
    return rows


def _of_device(package: Package, kind: str, name: str, here: Machine) -> list[Check]:
    if kind == "aihub":
        return aihub.checks(package, name)
    if kind == "sim":
        return [_simulator(package, here)]
    if kind != "local":
        return [Check("device", State.UNKNOWN, f"nothing is known here about devices of the kind {kind}")]
    if not package.manifest.engine.chips:
        return []
    return [snapdragon.chip(package, here), *snapdragon.surroundings(package, here)]


def _simulator(package: Package, here: Machine) -> Check:
    """Of Snapdragons only, and on x86 Linux only."""
    if not package.manifest.engine.chips:
        return Check(
            "simulator",
            State.PROBLEM,
            f"it runs packages of a Snapdragon, and this one is for {package.manifest.engine.name}",
            "--device local",
        )
    if not here.simulates:
        return Check(
            "simulator",
            State.PROBLEM,
            f"Qualcomm's library simulates on x86 Linux only, not on {here}",
            "run this there",
        )
    return Check("simulator", State.OK, f"{here}: numbers, never time")
