"""What some kinds of devices are asked besides measuring: to be set up here, and to be left as they were found."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from edgekit import registry
from edgekit.devices.address import open_device
from edgekit.devices.base import DeviceInfo
from edgekit.errors import UsageError


@runtime_checkable
class Cleaned(Protocol):
    """A device on which edgekit leaves files."""

    def clean(self) -> str:
        """Removes all of them; says what. Raises DeviceError."""
        ...


@runtime_checkable
class SetUp(Protocol):
    """A device that needs something of this machine, which is fetched when somebody asks for it."""

    def set_up(self) -> str:
        """Fetches it; says what, and where it lies. Raises MissingError, RemoteError."""
        ...


@runtime_checkable
class Nearby(Protocol):
    """A device that can be described quickly, and with nothing sent to it; or a kind that knows which there are."""

    def nearby(self) -> list[DeviceInfo]:
        """Those that can be reached now. Raises DeviceError, MissingError."""
        ...


@runtime_checkable
class Choosy(Protocol):
    """A device that knows without being reached which packages it does not run."""

    def check(self, package: Path) -> None:
        """Raises UsageError for such a package, with the reason."""
        ...


def clean(address: str) -> str:
    """Raises UsageError for a device on which nothing is left."""
    device = open_device(address)
    if not isinstance(device, Cleaned):
        raise UsageError(f"edgekit leaves nothing on {address}", "", "edgekit devices lists the others")
    said = device.clean()
    device.finished()
    return said


def set_up(kind: str) -> str:
    """Raises UsageError for a kind that needs nothing."""
    device = open_device(kind)
    if not isinstance(device, SetUp):
        kinds = [k for k in registry.names("devices") if issubclass(registry.find("devices", k), SetUp)]
        needs = f"it is for {', '.join(kinds)}" if kinds else "no kind does"
        raise UsageError(f"The device {kind} needs no setup", needs, "")
    return device.set_up()
