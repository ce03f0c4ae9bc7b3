"""A machine with a shell and Python that a transport reaches: it measures itself, and nothing is installed there.

Everything edgekit leaves lies under one folder of the device (`Stock`): packages, and for each engine a bundle with
edgekit and the engine, unpacked. `clean` removes it.
"""

from __future__ import annotations

import functools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit import progress
from edgekit.devices.base import DeviceInfo, Finished, Plan, Transport
from edgekit.devices.bundle import make_bundle
from edgekit.devices.process import read_launch, run_module, run_outputs
from edgekit.devices.record import Launch
from edgekit.devices.remote_machine import Shell, look_at
from edgekit.devices.stock import Stock, shell
from edgekit.errors import DeviceError, UsageError, guard
from edgekit.package import Package
from edgekit.runtime.opening import engine_named
from edgekit.spec import from_json, to_json
from edgekit.system.documents import JsonObject
from edgekit.system.redaction import printable

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array

THERE = "edgekit.devices.there"
_SILENCE = 30  # seconds without a word from this side, after which what runs there ends
_QUICK = 120.0  # seconds for a question; emulated boards are slow
# What a process that was killed left an hour ago or more goes.
_TEMPORARY = 'mkdir -p "$1" && find "$1" -mindepth 1 -maxdepth 1 -mmin +60 -exec rm -rf {} + 2>/dev/null; [ -d "$1" ]'
_COOLING_S = 600.0  # for a hot device to become cool enough
_LOOK_S = 10.0
_MOST_FACTS = 50
_UNPACKING = 900.0  # and for some 100 MB on a slow card


@dataclass(frozen=True)
class Bundled:
    """A transport whose commands are Python with a bundle, and end with the connection."""

    transport: Transport
    python: str
    site: str  # "": the interpreter there has edgekit itself
    temporary: str  # a folder there for what a killed process may leave

    @property
    def place(self) -> str:
        return self.transport.place

    def put(self, local: Path, remote: str) -> None:
        self.transport.put(local, remote)

    def get(self, remote: str, local: Path) -> None:
        self.transport.get(remote, local)

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        path = {"PYTHONPATH": self.site, "PYTHONNOUSERSITE": "1"} if self.site else {}
        own = {**environment, **path, "TMPDIR": self.temporary}
        return self.transport.run([*self._guard(), *command], own, timeout_s)

    def _guard(self) -> list[str]:
        if not self.site:
            return [self.python, "-P", "-m", "edgekit.system.tether", "guard", f"0:{_SILENCE}"]
        return [self.python, "-I", "-S", f"{self.site}/edgekit/system/tether.py", "guard", f"0:{_SILENCE}"]


class RemoteDevice:
    """What kinds of devices over a transport share. `python`: the interpreter there; "" for the newest. `own`: it has
    edgekit and the engine itself, and no bundle is sent. `folder`: for all that is left there; "" for `~/.edgekit`.
    `warmest`: °C at which a launch may begin at most."""

    timed = False  # not without an address
    simulates = False
    plans: ClassVar[frozenset[str]] = frozenset({"sustained_s", "streams", "images"})
    elsewhere = True

    def __init__(
        self, transport: Transport, python: str = "", folder: str = "", own: bool = False, warmest: float | None = None
    ) -> None:
        self.transport, self._python, self._folder, self._own = transport, python, folder, own
        self._warmest = warmest
        self._sites: dict[str, Bundled] = {}

    @functools.cached_property
    def machine(self) -> Shell:
        """What the device's shell says. Raises DeviceError where edgekit cannot run there."""
        return look_at(self.transport, self._python)

    @property
    def stock(self) -> Stock:
        return Stock(self.transport, self._folder or f"{self.machine.home}/.edgekit")

    def info(self) -> DeviceInfo:
        data = self._ask(self._site(""), "info", timeout_s=_QUICK)
        with guard(
            DeviceError, f"{self.transport.place} says of itself what cannot be read", "use the same edgekit there"
        ):
            there = from_json(DeviceInfo, data)
        facts = {_shown(name): _shown(fact) for name, fact in list(there.facts.items())[:_MOST_FACTS]}
        chip, system = _shown(there.chip), _shown(there.system)
        return replace(there, name=self.transport.place, chip=chip, system=system, facts=facts)

    def nearby(self) -> list[DeviceInfo]:
        """The device as its shell alone describes it: quick, and nothing is sent there."""
        machine = self.machine
        return [DeviceInfo(self.transport.place, machine.chip, machine.system, machine.cores, machine.memory_bytes)]

    def run(self, package: Path, plan: Plan) -> Launch:
        opened = Package(package)
        site, place = self._for(opened)
        if plan.images:
            arrays = {p.name: p for p in sorted(Path(plan.images).glob("*.npy"))}
            plan = replace(plan, images=self.stock.send(arrays))
        if self._warmest is not None:
            self._cool_down(site, self._warmest)
        limit = _QUICK + 10 * plan.seconds * (1 + plan.streams) + 2 * plan.sustained_s
        return read_launch(self._ask(site, "launch", place, plan, limit), self.transport.place)

    def _cool_down(self, site: Bundled, limit: float) -> None:
        """Waits until the device is no hotter than `limit` °C. Raises DeviceError when it stays so, or cannot tell."""
        start = time.monotonic()
        while True:
            celsius = self._ask(site, "readings").get("hottest_celsius")
            if not isinstance(celsius, (int, float)):
                raise DeviceError(
                    f"{self.transport.place} has no thermometer that edgekit reads",
                    f"devices.toml has max_temperature_c = {limit:g} for it",
                    "leave that out",
                )
            if celsius <= limit:
                return
            waited = time.monotonic() - start
            if waited > _COOLING_S:
                raise DeviceError(
                    f"{self.transport.place} stays at {celsius:.0f} °C",
                    f"devices.toml allows launches at up to {limit:g} °C, and it was waited {waited / 60:.0f} minutes",
                    "give it air, or a higher max_temperature_c",
                )
            progress.report(f"cooling to {limit:g} °C", int(waited), int(_COOLING_S))
            time.sleep(_LOOK_S)

    def operators(self, package: Path, plan: Plan) -> JsonObject:
        """As the device sees them itself; see `LocalDevice.operators`."""
        site, place = self._for(Package(package))
        return self._ask(site, "operators", place, plan, _QUICK + 10 * plan.seconds)

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        site, place = self._for(Package(package))
        folder = f"{self.stock.folder}/arrays-{secrets.token_hex(4)}"
        shell(self.transport, 'mkdir -p "$1"', folder, timeout_s=_QUICK)
        try:
            return run_outputs(site, place, inputs, folder)
        finally:
            shell(self.transport, 'rm -rf "$1"', folder, timeout_s=_QUICK)

    def clean(self) -> str:
        """Removes what edgekit left there; says what. Raises DeviceError."""
        return self.stock.clean()

    def _for(self, package: Package) -> tuple[Bundled, str]:
        """What runs a package there, and where it lies there."""
        if package.manifest.engine.chips:
            chips = ", ".join(package.manifest.engine.chips)
            raise UsageError(
                f"{package.manifest.name} is for the NPU of {chips}",
                f"{self.transport.place} is reached as a CPU",
                "name a device of AI Hub, as -d 'aihub:Samsung Galaxy S25'",
            )
        site = self._site(engine_named(package.manifest.engine.name).extra)
        names = [*package.manifest.files, "manifest.json", "receipt.json"]
        return site, self.stock.send({name: package.folder / name for name in names})

    def _site(self, extra: str) -> Bundled:
        """Python there with edgekit and an engine; unpacked the first time."""
        if extra in self._sites:
            return self._sites[extra]
        machine = self.machine
        if self._own:
            site = ""
        else:
            bundle = make_bundle(machine.wheels, extra)
            file = self.stock.send_file(bundle)
            site = f"{self.stock.folder}/bundles/{file.rpartition('/')[2][:32]}"
            done = self.transport.run([machine.python, file, site], {}, _UNPACKING)
            if done.code:
                said = done.errors.strip().splitlines()[-1:] or [f"exit code {done.code}"]
                raise DeviceError(f"edgekit cannot be unpacked on {self.transport.place}", said[0][:300])
        temporary = f"{self.stock.folder}/tmp"
        shell(self.transport, _TEMPORARY, temporary, timeout_s=_QUICK)
        self._sites[extra] = Bundled(self.transport, machine.python, site, temporary)
        return self._sites[extra]

    def _ask(
        self, site: Bundled, verb: str, package: str = "", plan: Plan | None = None, timeout_s: float = _QUICK
    ) -> JsonObject:
        words = [verb, *([package, json.dumps(to_json(plan))] if plan else [])]
        return run_module(site, THERE, words, timeout_s)

    def finished(self) -> None:
        pass


def _shown(text: str) -> str:
    """What a device says of itself, as it may stand in a terminal and a receipt."""
    return printable(text[:300])
