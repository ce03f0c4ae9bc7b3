"""What one launch saw, as a record, and as the JSON that launches print and databases keep.

The JSON is older than the records: an empty object stands for what a launch has nothing of, and what is not known here
comes from another version of edgekit and is kept as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from edgekit.runtime.measuring import TextTimings
from edgekit.spec import from_json, to_json
from edgekit.system.documents import JsonObject


@dataclass(frozen=True)
class HostNotes:
    """What was around a launch: the machine's load, or the job of a service. None and "": nothing is known of it."""

    warning: str = ""  # what makes this launch suspect
    busy_before: float | None = None  # share of the allowed cores that others used just before
    before: dict[str, float] = field(default_factory=dict)  # `devices.sensors.readings`
    after: dict[str, float] = field(default_factory=dict)
    job: str = ""  # of a service, its identifier
    url: str = ""
    emulated: bool = False  # whether the service only emulates the device
    layers: list[dict[str, Any]] = field(default_factory=list)  # as the service describes them
    compute_units: dict[str, int] = field(default_factory=dict)  # layers on each
    memory: dict[str, list[int]] | None = None  # by stage, the least and the most bytes


@dataclass(frozen=True)
class Second:
    """About a second of a launch without pauses. `sensors`: `devices.sensors.readings` at its end."""

    at_s: float  # since the first of them began
    runs: int
    median_s: float  # of one run
    sensors: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Streams:
    """Copies of a package at the same time, each with as many threads as `Launch.threads`."""

    copies: int
    runs: int  # of all of them
    seconds: float


@dataclass(frozen=True)
class Launch:
    """What one launch saw. Times in seconds, memory in bytes; `samples_s` by phase. 0: the device does not say."""

    samples_s: dict[str, list[float]]
    cold_load_s: float
    warm_load_s: float
    first_run_s: float
    peak_memory_bytes: int
    threads: int
    engine: str
    cold_is_cold: bool = True
    host: HostNotes = HostNotes()
    text: TextTimings | None = None  # of a language model
    steady_memory_bytes: int = 0  # resident, after the last run
    shared_memory_bytes: int = 0  # of that, proportional to who shares it (PSS)
    curve: list[Second] = field(default_factory=list)  # where the plan was to sustain
    streams: Streams | None = None
    images: int = 0  # that it was measured with; 0: noise
    edgekit: str = ""  # the version that measured; "" before there was a second one to tell apart
    others: dict[str, Any] = field(default_factory=dict)  # what another version of edgekit says besides

    def totals(self) -> list[float]:
        """Seconds of each iteration, preparing and finishing included."""
        return [sum(parts) for parts in zip(*self.samples_s.values())]


_KNOWN = frozenset(f.name for f in fields(Launch)) - {"others"}


def launch_from_json(data: Mapping[str, object]) -> Launch:
    """Raises ValueError naming what does not fit. Unknown keys go into `others`."""
    known = {key: value for key, value in data.items() if key in _KNOWN}
    known["text"] = known.get("text") or None
    known["others"] = {key: value for key, value in data.items() if key not in _KNOWN}
    return from_json(Launch, known)


def launch_to_json(launch: Launch) -> JsonObject:
    """Of `host`, only what is known."""
    host = {f.name: getattr(launch.host, f.name) for f in fields(HostNotes)}
    data: dict[str, Any] = to_json(launch)
    others = data.pop("others")
    if data["text"] and not data["text"]["depths"]:
        del data["text"]["depths"]
    for name in _NEWER:
        if data[name] == getattr(_BARE, name):
            del data[name]
    host = {name: to_json(value) for name, value in host.items() if value != getattr(_NOTHING, name)}
    return {**others, **data, "host": host, "text": data["text"] or {}}


_NOTHING = HostNotes()
# What launches had not at first is only written where there is some of it: others read them without it.
_NEWER = ("steady_memory_bytes", "shared_memory_bytes", "curve", "streams", "images", "edgekit")
_BARE = Launch({}, 0.0, 0.0, 0.0, 0, 0, "")
