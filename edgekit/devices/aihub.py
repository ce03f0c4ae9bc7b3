"""Device `aihub:NAME`: a phone or board at Qualcomm AI Hub. Each launch is a profile job there."""

from __future__ import annotations

import functools
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.aihub.environment import service_url
from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.record import HostNotes, Launch
from edgekit.errors import DeviceError, MissingError, RemoteError, UsageError, guard
from edgekit.package import Package
from edgekit.package.receipt import Provenance

if TYPE_CHECKING:
    from edgekit.aihub.hub import Hub, Request
    from edgekit.runtime.engine import Array
    from edgekit.system.documents import JsonObject

_STAGES = ("compile", "first_load", "warm_load", "inference")


class AiHubDevice:
    name = "aihub"
    options: ClassVar[frozenset[str]] = frozenset({"chip"})
    timed = False
    simulates = False
    plans: ClassVar[frozenset[str]] = frozenset()
    elsewhere = False

    def __init__(self, address: str = "", chip: str = "") -> None:
        """`chip`: whose files of a package run there; "" for those that name the device's own."""
        self._address, self._chip = address, chip
        self._requests: list[Request] = []

    @functools.cached_property
    def hub(self) -> Hub:
        from edgekit.aihub.hub import Hub

        return Hub()

    @functools.cached_property
    def description(self) -> JsonObject:
        """What the service says of this device."""
        if not self._address:
            raise UsageError(
                "aihub needs the name of a device",
                "",
                "as -d 'aihub:Samsung Galaxy S25'; edgekit devices aihub lists them",
            )
        return self.hub.device(self._address)

    def info(self) -> DeviceInfo:
        """Of one device; without a name, of what there is, asking nothing of the network."""
        if not self._address:
            try:
                where = service_url()
            except MissingError as error:
                where = error.what
            return DeviceInfo("aihub", "phones and boards at Qualcomm AI Hub", where, 0, 0)
        return described(self.description)

    def listing(self) -> list[DeviceInfo]:
        from edgekit.aihub.hub import Hub

        with Hub() as hub:
            return [described(d) for d in hub.connection.call("devices")]

    def run(self, package: Path, plan: Plan) -> Launch:
        """Raises UsageError without a name, DeviceError for a package of another chip, RemoteError."""
        from edgekit.aihub.artefacts import upload
        from edgekit.aihub.hub import Request
        from edgekit.aihub.job_options import text

        opened, description = Package(package), self.description
        model = upload(self.hub, opened, self._chip or chip_in(opened, description))
        options = text({"max_profiler_iterations": str(plan.iterations)})
        title = opened.manifest.name
        alike = sum(r.title == title for r in self._requests)
        request = Request("inference", title, (model,), description["name"], options, profile=True, number=alike)
        self._requests.append(request)
        job = self.hub.job(request)
        versions = ", ".join(f"{n} {v}" for n, v in job.versions.items())
        profile, host = self.hub.profile(job), HostNotes(job=job.id, url=job.url, emulated=job.emulated)
        with guard(RemoteError, f"The profile of {title} that AI Hub gives cannot be read", "see its page there"):
            return launch(profile, versions, host)

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        """One inference job for all of them. Raises as `run`, and UsageError without inputs."""
        import numpy as np

        from edgekit.aihub.artefacts import upload
        from edgekit.aihub.hub import Request

        opened, description = Package(package), self.description
        title = opened.manifest.name
        if not inputs:
            raise UsageError(f"AI Hub runs {title} on inputs, and there are none", "", "name --source and --images")
        # one sample a row; the batch axis of each is that of the model
        dataset = self.hub.dataset({n: np.stack([row[n] for row in inputs]) for n in inputs[0]}, f"{title}-images")
        model = upload(self.hub, opened, self._chip or chip_in(opened, description))
        job = self.hub.job(Request("inference", title, (model,), description["name"], "", dataset))
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            arrays = self.hub.outputs(job, Path(folder))
        counts = {name: len(array) for name, array in arrays.items()}
        if set(counts.values()) != {len(inputs)}:
            raise RemoteError(f"AI Hub gave outputs of {counts} for {len(inputs)} inputs", f"job {job.id}", "try again")
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(inputs))]

    def finished(self) -> None:
        for request in self._requests:
            self.hub.used(request)
        if "hub" in self.__dict__:
            self.hub.connection.close()


def described(description: JsonObject) -> DeviceInfo:
    from edgekit.aihub.hub import EMULATED

    facts = dict(a.partition(":")[::2] for a in description["attributes"])
    emulated = EMULATED in facts
    chips = [a.partition(":")[2] for a in description["attributes"] if a.startswith("chipset:")]
    return DeviceInfo(
        f"aihub:{description['name']}",
        ", ".join(chips),
        f"{facts.get('os', '')} {description['os']}".strip(),
        0,
        0,
        {**facts, "chipset": " ".join(chips)},
        Provenance.SIMULATED if emulated else Provenance.MEASURED,
    )


def chip_in(package: Package, description: JsonObject) -> str:
    """Which of a package's chips a device has. Raises DeviceError when it is none of them."""
    chips = package.manifest.engine.chips
    chipset = " ".join(a for a in description["attributes"] if a.startswith("chipset:")).lower()
    for chip in chips:
        if chip.lower() in chipset:
            return chip
    if not chips:
        return ""
    raise DeviceError(
        f"{package.manifest.name} was not compiled for {description['name']}",
        f"it holds contexts for {', '.join(chips)}; the device has {chipset}",
        "convert it for this chip, or name another device",
    )


def launch(profile: JsonObject, versions: str, host: HostNotes) -> Launch:
    """From what a profile job says: microseconds and bytes. Layers and ranges of memory go into
    `host`, as they are."""
    summary, layers = profile["execution_summary"], profile["execution_detail"]
    times = summary.get("all_inference_times") or [summary["estimated_inference_time"]]
    units = Counter(layer["compute_unit"] for layer in layers)
    memory = {
        stage: list(peak)
        for stage in _STAGES
        if isinstance(peak := summary.get(f"{stage}_memory_peak_range"), (list, tuple))
    }
    elsewhere = [layer["name"] for layer in layers if layer["compute_unit"] != "NPU"]
    warning = ""
    if units["NPU"] and elsewhere:
        shown = ", ".join(elsewhere[:5]) + (" …" if len(elsewhere) > 5 else "")
        warning = f"{len(elsewhere)} of {len(layers)} layers ran outside the NPU: {shown}"

    def value(name: str) -> float:
        number = summary.get(name)
        return float(number) if isinstance(number, (int, float)) else 0.0

    return Launch(
        {"run": [t / 1e6 for t in times]},
        value("first_load_time") / 1e6,
        value("warm_load_time") / 1e6,
        0.0,
        int(value("estimated_inference_peak_memory")),
        0,
        f"AI Hub ({versions})",
        host=replace(host, warning=warning, layers=layers, compute_units=dict(units), memory=memory),
    )
