"""Device addresses as users write them: `local`, `ssh:HOST`, `adb:SERIAL`, `aihub:NAME`."""

from __future__ import annotations

from edgekit import registry
from edgekit.devices.base import Device
from edgekit.errors import UsageError


def open_device(address: str) -> Device:
    """Raises UsageError naming the kinds that are registered."""
    kind, _, rest = address.partition(":")
    if kind not in registry.names("devices"):
        raise UsageError(
            f"There is no device {address}",
            "",
            f"kinds of device: {', '.join(registry.names('devices'))} (KIND or KIND:ADDRESS)",
        )
    found = registry.load("devices", kind)
    device: Device = type(found)(rest) if rest else found
    return device
