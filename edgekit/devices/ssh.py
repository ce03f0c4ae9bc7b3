"""Device `ssh:[USER@]HOST[:PORT]`: a board or machine that OpenSSH, dropbear or Termux lets in.

The user's own `~/.ssh/config`, agent, keys and known_hosts decide who is reached and how. A host whose key is not known
is an error, never accepted in silence.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.devices.base import DeviceInfo, Finished
from edgekit.devices.lab import lab_devices
from edgekit.devices.remote import RemoteDevice
from edgekit.devices.ssh_address import SshAddress, read_address
from edgekit.errors import MissingError, UsageError
from edgekit.system.distribution import install

if TYPE_CHECKING:
    from edgekit.devices.ssh_connection import SshConnection


def check_library() -> None:
    """Raises MissingError without asyncssh."""
    if find_spec("asyncssh") is None:
        raise MissingError("SSH is spoken by asyncssh, which is not here", "", install("ssh"))


class SshTransport:
    """Commands over one connection, which is made when it is first needed, and made again when it was lost."""

    python = "python3"

    def __init__(self, address: SshAddress, label: str = "") -> None:
        self.place, self._address = label or f"ssh:{address}", address

    @functools.cached_property
    def _connection(self) -> SshConnection:
        check_library()
        if not self._address.host:
            raise UsageError("ssh needs an address", "", "as -d ssh:pi@192.168.1.7, or a name of your devices.toml")
        from edgekit.devices.ssh_connection import SshConnection

        return SshConnection(self._address)

    def put(self, local: Path, remote: str) -> None:
        if not local.is_dir():
            self._connection.send(local, remote)
            return
        for path in sorted(p for p in local.rglob("*") if p.is_file()):
            place = f"{remote}/{path.relative_to(local).as_posix()}"
            self.run(["mkdir", "-p", place.rpartition("/")[0]], {}, 60)
            self._connection.send(path, place)

    def get(self, remote: str, local: Path) -> None:
        self._connection.receive(remote, local)

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        return self._connection.run(command, environment, timeout_s)

    def close(self) -> None:
        if "_connection" in vars(self):
            self._connection.close()
            del self._connection


def _celsius(text: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        value = -1.0
    if value is not None and not 0 < value < 150:
        raise UsageError(f"max_temperature_c = {text:.40} is no temperature", "", "write °C, as 65")
    return value


class SshDevice(RemoteDevice):
    name = "ssh"
    options: ClassVar[frozenset[str]] = frozenset({"python", "folder", "edgekit", "label", "max_temperature_c"})

    def __init__(
        self,
        address: str = "",
        python: str = "",
        folder: str = "",
        edgekit: str = "bundle",
        label: str = "",
        max_temperature_c: str = "",
    ) -> None:
        """`python`: an interpreter there. `folder`: for all that edgekit leaves there. `edgekit`: "own" where that
        interpreter has edgekit and the engine already. `label`: what receipts call it, "" for the address.
        `max_temperature_c`: a launch waits until the device is no hotter. Raises
        UsageError, MissingError without asyncssh."""
        if edgekit not in ("bundle", "own"):
            raise UsageError(f"edgekit = {edgekit:.40} is neither", "", 'write "bundle" or "own"')
        if edgekit == "own" and not python:
            raise UsageError('edgekit = "own" needs the interpreter that has it', "", "set python to its path there")
        self._address = read_address(address) if address else None
        self._ssh = SshTransport(self._address or SshAddress(""), label)
        super().__init__(self._ssh, python, folder, edgekit == "own", _celsius(max_temperature_c))

    def info(self) -> DeviceInfo:
        """Of one device; without an address, of what there is, asking nothing of the network."""
        if self._address is None:
            check_library()
            named = (
                ", ".join(d.name for d in lab_devices() if d.address.partition(":")[0] == self.name)
                or "name them in devices.toml"
            )
            return DeviceInfo("ssh", "boards and machines over SSH", named, 0, 0)
        return super().info()

    def listing(self) -> list[DeviceInfo]:
        return self.nearby()

    def nearby(self) -> list[DeviceInfo]:
        return super().nearby() if self._address is not None else [self.info()]

    def finished(self) -> None:
        self._ssh.close()
