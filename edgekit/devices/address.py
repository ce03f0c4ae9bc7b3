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
    address, settings = _resolved(address)
    kind, _, rest = address.partition(":")
    plugin: Any = registry.find("devices", kind)  # a class of devices: what it takes is in its `options`
    settings = {**settings, **(options or {})}
    known: frozenset[str] = getattr(plugin, "options", frozenset())  # kinds made before there were any have none
    unknown = sorted(settings.keys() - known)
    if unknown:
        can = f"it has {', '.join(sorted(known))}" if known else "it has no options"
        raise UsageError(f"The device {address} has no option {unknown[0]}", can, "leave it out")
    device: Device = plugin(rest, **settings)
    return device


def _resolved(address: str) -> tuple[str, Mapping[str, str]]:
    """The address of what may be a name of `devices.toml`, and what that file sets for it."""
    if address.partition(":")[0] in registry.names("devices"):
        return address, {}
    named = find_named(address)
    if named is None:
        raise UsageError(
            f"There is no device {address}",
            "",
            f"kinds of device: {', '.join(registry.names('devices'))} (KIND or KIND:ADDRESS), or a name of your "
            "devices.toml",
        )
    kind: Any = registry.find("devices", named.address.partition(":")[0])
    label = {"label": named.name} if "label" in getattr(kind, "options", ()) else {}
    return named.address, {**label, **named.options}


def timed_device(addresses: Sequence[str], asked: str = "") -> str:
    """On which of a target's devices launches are timed: the one asked for where it is of such a kind, else the first
    that can be timed at once; "" for none. Raises UsageError for a device that there is not."""
    if asked:
        kinds = [a.partition(":")[0] for a in addresses]
        return asked if not simulator_of(addresses) and kind_of(asked) in kinds else ""
    return next((a for a in addresses if (kind := _kind(a)) and kind.timed), "")


def kind_of(address: str) -> str:
    """`ssh` of `ssh:pi`, and of a name of `devices.toml` that stands for it. Raises UsageError as `open_device`."""
    return _resolved(address)[0].partition(":")[0]


def simulator_of(addresses: Sequence[str]) -> str:
    """The first of a target's devices that runs packages here in numbers but not in time; "" for none."""
    return next((a for a in addresses if (kind := _kind(a)) and kind.simulates), "")


def _kind(address: str) -> type[Device] | None:
    """None for a kind of an extension that is not here, which a target may name."""
    name = address.partition(":")[0]
    return registry.find("devices", name) if name in registry.names("devices") else None
