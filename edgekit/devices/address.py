"""Device addresses as users write them: `local`, `sim:htp`, `aihub:NAME`, `null:MS`."""

from __future__ import annotations

from collections.abc import Sequence

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
    plugin = registry.load("devices", kind)
    device: Device = type(plugin)(rest) if rest else plugin
    return device


def timed_device(addresses: Sequence[str]) -> str:
    """The first of a target's devices on which launches can be timed at once; "" for none."""
    return next((a for a in addresses if _kind(a).timed), "")


def simulator_of(addresses: Sequence[str]) -> str:
    """The first of a target's devices that runs packages here in numbers but not in time; "" for none."""
    return next((a for a in addresses if _kind(a).simulates), "")


def _kind(address: str) -> type[Device]:
    kind: type[Device] = registry.find("devices", address.partition(":")[0])
    return kind
