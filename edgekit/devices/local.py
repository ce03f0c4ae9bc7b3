"""Device `local`: this machine. Each launch is a fresh Python process."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit import settings
from edgekit.devices.base import DeviceInfo, Finished, Plan
from edgekit.devices.meters import energy_meter
from edgekit.devices.process import OPERATORS, plan_words, run_launch, run_module, run_outputs
from edgekit.devices.record import HostNotes, Launch
from edgekit.devices.sensors import (
    busy_share,
    cpu_model,
    emulator,
    frequency_policy,
    memory_bytes,
    readings,
    system_name,
)
from edgekit.errors import DeviceError, UsageError
from edgekit.package.receipt import Provenance
from edgekit.runtime.cores import allowed_cores
from edgekit.system.documents import JsonObject
from edgekit.system.tether import tied

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array

_BUSY = 0.10  # share of the allowed cores that others may use before a launch is suspect


class LocalTransport:
    """Processes of this machine, which end when this one does."""

    place, python = "this machine", sys.executable

    def put(self, local: Path, remote: str) -> None:
        _copy(local, Path(remote))

    def get(self, remote: str, local: Path) -> None:
        _copy(Path(remote), local)

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        try:
            process = subprocess.run(
                tied(command),
                capture_output=True,
                env={**os.environ, **environment},
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"A process on {self.place} took more than {timeout_s:g} seconds") from error
        except OSError as error:
            raise DeviceError(f"A process on {self.place} cannot be started", str(error)) from error
        return Finished(process.returncode, process.stdout, process.stderr)


class LocalDevice:
    name = "local"
    options: ClassVar[frozenset[str]] = frozenset()
    timed = True
    simulates = False
    plans: ClassVar[frozenset[str]] = frozenset({"sustained_s", "streams", "images"})
    elsewhere = False

    def __init__(self, address: str = "") -> None:
        if address:
            raise UsageError(f"There is only one local device, not local:{address}", "", "use -d local")

    def info(self) -> DeviceInfo:
        emulated, system = emulator(), system_name()
        facts = {
            "python": platform.python_version(),
            "frequency_policy": frequency_policy() or "not readable",
            "libc": " ".join(platform.libc_ver()).strip(),
            "distribution": system,
            "emulator": emulated,
            "energy_meter": energy_meter(),
        }
        return DeviceInfo(
            name="local",
            chip=cpu_model(),
            system=f"{platform.system()} {platform.release()} {platform.machine()}",
            cores=len(allowed_cores()),
            memory_bytes=memory_bytes(),
            facts={name: fact for name, fact in facts.items() if fact},
            provenance=Provenance.SIMULATED if emulated else Provenance.MEASURED,
        )

    def listing(self) -> list[DeviceInfo]:
        return [self.info()]

    def run(self, package: Path, plan: Plan) -> Launch:
        # What the settings of this folder say is not known to the process that is measured.
        plan = replace(plan, threads=plan.threads or settings.threads())
        with watched() as watch:
            launch = run_launch(LocalTransport(), str(package), plan)
        return replace(launch, host=watch.notes)

    def operators(self, package: Path, plan: Plan) -> JsonObject:
        """See `edgekit.runtime.operators.profile`; besides, `warnings`."""
        with watched() as watch:
            data = run_module(LocalTransport(), OPERATORS, [str(package), *plan_words(plan)])
        return {**data, "warnings": [watch.notes.warning] if watch.notes.warning else []}

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            return run_outputs(LocalTransport(), str(package), inputs, folder)

    def finished(self) -> None:
        pass


@dataclass
class Watch:
    """`notes` are complete once the block that is watched has ended."""

    notes: HostNotes


@contextlib.contextmanager
def watched() -> Iterator[Watch]:
    """Notes what others did on this machine just before the block, and the sensors around it."""
    others = busy_share(0.2)  # while nothing of ours runs, all use is somebody else's
    suspect = f"other work used {others:.0%} of the cores just before this launch" if others > _BUSY else ""
    watch = Watch(HostNotes(warning=suspect, busy_before=others, before=readings()))
    yield watch
    notes = replace(watch.notes, after=readings())
    watch.notes = replace(notes, warning="; ".join(w for w in (notes.warning, _throttled(notes)) if w))


def _throttled(notes: HostNotes) -> str:
    before, after = notes.before, notes.after
    counted = after.get("throttle_events", 0) - before.get("throttle_events", 0)
    if counted > 0 or after.get("throttled_now"):
        return "the processor throttled during this launch"
    return ""


def _copy(source: Path, place: Path) -> None:
    try:
        if source.is_dir():
            shutil.copytree(source, place, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, place)
    except OSError as error:
        raise DeviceError(f"{source.name} cannot be copied to {place}", str(error)) from error
