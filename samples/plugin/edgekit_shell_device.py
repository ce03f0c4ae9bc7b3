"""A device for edgekit: another login of this machine, or any place that `ARGUMENT sh` reaches. `shell:sudo -u runner`.

Shows the seam: a transport puts, gets and runs; edgekit does the rest.
"""

from __future__ import annotations

import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from edgekit.devices.base import DeviceInfo, Finished, Plan
from edgekit.devices.process import run_launch, run_outputs
from edgekit.devices.record import Launch
from edgekit.errors import DeviceError
from edgekit.runtime.engine import Array


class ShellTransport:
    """Runs commands through `PREFIX sh -c`; files are copied."""

    python = sys.executable

    def __init__(self, prefix: Sequence[str]) -> None:
        self.prefix, self.place = list(prefix), f"the machine behind {shlex.join(prefix) or 'sh'}"

    def put(self, local: Path, remote: str) -> None:
        copy = shutil.copytree if local.is_dir() else shutil.copy2
        copy(local, remote)

    def get(self, remote: str, local: Path) -> None:
        self.put(Path(remote), str(local))

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        words = [f"{k}={shlex.quote(v)}" for k, v in environment.items()]
        line = " ".join([*words, shlex.join(command)])
        try:
            done = subprocess.run(
                [*self.prefix, "sh", "-c", line], capture_output=True, encoding="utf-8", timeout=timeout_s
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DeviceError(f"{self.place} does not answer", str(error), "check the command after shell:") from error
        return Finished(done.returncode, done.stdout, done.stderr)


class ShellDevice:
    name = "shell"
    options: ClassVar[frozenset[str]] = frozenset()
    timed = False
    simulates = False
    elsewhere = True

    def __init__(self, address: str = "") -> None:
        self.transport = ShellTransport(shlex.split(address))

    def info(self) -> DeviceInfo:
        machine = self.transport.run(["uname", "-srm"], {}, 10).output.strip()
        return DeviceInfo(self.name, platform.machine(), machine, 0, 0)

    def listing(self) -> list[DeviceInfo]:
        return [self.info()]

    def run(self, package: Path, plan: Plan) -> Launch:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:  # that both sides can reach
            remote = str(Path(folder) / package.name)
            self.transport.put(package, remote)
            return run_launch(self.transport, remote, plan)

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            remote = str(Path(folder) / package.name)
            self.transport.put(package, remote)
            return run_outputs(self.transport, remote, inputs, folder)

    def finished(self) -> None:
        pass
