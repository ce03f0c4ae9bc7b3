"""Device addresses as users write them: `local`, `ssh:pi@192.168.1.7`, `sim:htp`, or a name of `devices.toml`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit import registry
from edgekit.devices.base import Device
from edgekit.devices.lab import find_named
from edgekit.errors import UsageError


def open_device(address: str, options: Mapping[str, str] | None = None) -> Device:
    """A device by its address, or by its name in `devices.toml`.

    `options`: what beats the settings of that file. Raises UsageError naming the kinds that are registered, and for an
    option that the kind does not have.
    """
    kind, _, rest = address.partition(":")
    settings: dict[str, str] = {}
    if kind not in registry.names("devices"):
        named = find_named(address)
        if named is None:
            raise UsageError(
                f"There is no device {address}",
                "",
                f"kinds of device: {', '.join(registry.names('devices'))} (KIND or KIND:ADDRESS), or a name of "
                "your devices.toml",
            )
        kind, _, rest = named.address.partition(":")
        settings = dict(named.options)
    plugin: Any = registry.find("devices", kind)  # a class of devices: what it takes is in its `options`
    settings |= options or {}
    known: frozenset[str] = getattr(plugin, "options", frozenset())  # kinds made before there were any have none
    unknown = sorted(settings.keys() - known)
    if unknown:
        can = f"it has {', '.join(sorted(known))}" if known else "it has no options"
        raise UsageError(f"The device {address} has no option {unknown[0]}", can, "leave it out")
    device: Device = plugin(rest, **settings)
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
