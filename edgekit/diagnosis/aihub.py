"""Checks for `aihub:NAME`. Nothing is sent: what the targets and the client's own files say."""

from __future__ import annotations

from edgekit.aihub.environment import client_python, service_url
from edgekit.diagnosis.base import Check, Machine, State, chips_of
from edgekit.errors import MissingError, UsageError
from edgekit.package import Package
from edgekit.target import targets

_LIST = "edgekit devices aihub asks AI Hub for its list"


def checks(package: Package, device: str, here: Machine) -> list[Check]:
    """Raises UsageError without the name of a device."""
    if not device:
        raise UsageError(
            "aihub needs the name of a device", "", "as -d 'aihub:Samsung Galaxy S25'; edgekit devices aihub lists them"
        )
    return [_client(), _token(), _device(package, device)]


def _client() -> Check:
    try:
        return Check("AI Hub client", State.OK, f"qai-hub, of {client_python()}")
    except MissingError as error:
        return Check("AI Hub client", State.PROBLEM, f"{error.what}: {error.why}", error.next)


def _token() -> Check:
    try:
        return Check("AI Hub token", State.OK, f"configured for {service_url()}; not tried")
    except MissingError as error:
        return Check("AI Hub token", State.PROBLEM, f"{error.what}: {error.why}", error.next)


def _device(package: Package, device: str) -> Check:
    """Whether AI Hub's device of this name has a chip of the package."""
    chips = {name: c for name, c in chips_of(package).items() if c}
    measures = [d for c in chips.values() for d in c.aihub]
    own = next((c for t in targets().values() for c in t.chips if device in c.aihub and not c.proxy), None)
    stand_in = next((n for n, c in chips.items() if device in c.aihub and c.proxy), "")
    others = f"devices with {', '.join(chips) or 'its chip'}: {', '.join(measures) or 'none'}"
    if stand_in:
        return Check(
            "chip",
            State.UNKNOWN,
            f"{device} stands in for {stand_in}: its figures are those of a {chips[stand_in].proxy}",
        )
    if device in measures:
        soc = next(n for n, c in chips.items() if device in c.aihub)
        return Check("chip", State.OK, f"{device} has a {soc}")
    if own and package.manifest.engine.chips:
        return Check(
            "chip",
            State.PROBLEM,
            f"{device} has a {own.soc}; the package is for {', '.join(chips_of(package))}",
            others,
        )
    if own:  # a package that any chip opens
        return Check("chip", State.OK, f"{device} has a {own.soc}, and the package is for any")
    return Check("chip", State.UNKNOWN, f"no target names {device}", f"{others}; {_LIST}" if chips else _LIST)
