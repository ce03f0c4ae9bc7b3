"""`--via aihub`: Qualcomm AI Hub compiles in place of a target's own backend. Imports nothing that is slow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgekit.aihub import environment
from edgekit.aihub.service_options import OPTIONS, ServiceOptions
from edgekit.errors import MissingError, UsageError
from edgekit.options import Values
from edgekit.target import Target


class AiHubService:
    """Graphs for Snapdragons are compiled by the backend `aihub`; a language model's own backend sends it parts."""

    title = "Qualcomm AI Hub"

    options = OPTIONS

    def target(self, target: Target) -> Target:
        if not target.chips:
            raise UsageError(
                f"{target.name} is not compiled by AI Hub",
                "it is no Snapdragon",
                "leave --via out; edgekit targets lists what there is",
            )
        for chip in target.chips:
            if not chip.aihub:
                raise UsageError(
                    f"AI Hub has no device with a {chip.soc}", "", "leave --via aihub out: edgekit compiles it here"
                )
        return replace(target, backend="aihub")

    def request(self, targets: Sequence[Target], values: Values) -> ServiceOptions:
        from edgekit.aihub.hub import Hub

        service = ServiceOptions.of(values)
        if service.dry_run:
            return replace(service, url=_destination())
        with Hub() as hub:
            for chip in (c for t in targets for c in t.chips):
                hub.device(chip.aihub[0])
            return replace(service, url=hub.url)


def _destination() -> str:
    """Where a dry run would send."""
    try:
        return environment.service_url()
    except MissingError as error:
        return f"nowhere yet: {error.what}"
