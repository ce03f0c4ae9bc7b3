"""The seams between a package and where it is measured: a `Transport` reaches a machine, a `Device` runs launches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from edgekit.devices.record import Launch
from edgekit.package.receipt import Provenance

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array


@dataclass(frozen=True)
class Plan:
    """One launch: a fresh process that warms up, then measures."""

    iterations: int = 50
    warmup: int = 5
    seconds: float = 20.0  # a launch stops here even when iterations are left
    threads: int | None = None
    sustained_s: float = 0.0  # after that, for so long without a pause
    streams: int = 1  # after that, so many copies at the same time; 1: none
    images: str = ""  # a folder of .npy files, uint8 (H, W, 3) each, to measure with; "" for noise


@dataclass(frozen=True)
class DeviceInfo:
    """What was measured. `facts` is what the device says of itself, for people to read."""

    name: str
    chip: str
    system: str
    cores: int  # 0: the device does not say
    memory_bytes: int
    facts: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = Provenance.MEASURED


@dataclass(frozen=True)
class Finished:
    """How a command ended, and what it printed."""

    code: int
    output: str
    errors: str


class Transport(Protocol):
    """How files and commands reach a machine. Knows nothing of packages or launches, so that each kind is one file."""

    @property
    def place(self) -> str:
        """The machine, as messages name it: "this machine"."""
        ...

    @property
    def python(self) -> str:
        """The interpreter there that has edgekit's runtime."""
        ...

    def put(self, local: Path, remote: str) -> None:
        """Copies a file or a folder there. Raises DeviceError."""
        ...

    def get(self, remote: str, local: Path) -> None:
        """Copies a file or a folder from there. Raises DeviceError."""
        ...

    def run(self, command: Sequence[str], environment: Mapping[str, str], timeout_s: float | None) -> Finished:
        """Runs a command there, with `environment` beside what is set there. Raises DeviceError when it cannot be
        started, or takes longer than `timeout_s`."""
        ...


class Device(Protocol):
    """Where packages are measured. Registered in the group `edgekit.devices` by its kind: a class that takes the part
    of the address after the colon, "" for none, and each of `options` as a keyword."""

    name: str
    options: ClassVar[frozenset[str]]  # what a table of devices.toml or an option of the command line may set, as text
    timed: ClassVar[bool]  # whether launches there can be timed at once, without a service or a name
    simulates: ClassVar[bool]  # whether it runs packages here, in numbers but not in time
    plans: ClassVar[frozenset[str]]  # of `Plan`, what a launch there can do beyond the first four
    elsewhere: ClassVar[bool]  # whether what packages give there is to be compared with what they give here

    def info(self) -> DeviceInfo:
        """What the device says of itself. Raises DeviceError where it cannot be reached."""
        ...

    def listing(self) -> list[DeviceInfo]:
        """Each device of this kind that there is. May ask a service."""
        ...

    def run(self, package: Path, plan: Plan) -> Launch:
        """One launch. Raises DeviceError when the device cannot run it."""
        ...

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """What the package's graph gives there for each of `inputs`, by tensor: the engine's arrays, as they are.

        Without `inputs`: one dictionary, what `Runner.probe` gives there. Raises DeviceError, and UsageError where this
        kind of device cannot say."""
        ...

    def finished(self) -> None:
        """All launches of a measurement are stored: what was remembered to continue it may go."""
        ...
