"""A language model's graphs by way of Qualcomm AI Hub: one compile job for each part of each graph.

The results are what edgekit compiles itself: one context a file, which the simulator opens. Link jobs
would make both graphs share their weights; the simulator does not open that.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.aihub import job_options
from edgekit.aihub.service_options import ServiceOptions
from edgekit.backends.qnn import QnnBackend
from edgekit.errors import RemoteError, UsageError
from edgekit.package.search import Job, PlannedJob, Upload
from edgekit.progress import Progress
from edgekit.sources.files import sha256
from edgekit.spec import Precision
from edgekit.target import Chip, Target

if TYPE_CHECKING:
    from edgekit.aihub.hub import Hub

_RUNTIME = "precompiled_qnn_onnx"
_EMULATED = "compiled by an emulator of AI Hub on this machine, not by Qualcomm's service"


def check(service: ServiceOptions) -> None:
    """Raises UsageError for what a language model cannot be asked for."""
    if service.runtime != _RUNTIME or service.link or service.quantize != "here":
        raise UsageError(
            "A language model is compiled by AI Hub as precompiled_qnn_onnx only",
            "its graphs are opened one by one",
            "leave --runtime, --link and --quantize out",
        )


def said(files: Sequence[Path], target: Target, to: str) -> tuple[Upload | PlannedJob, ...]:
    """The rows of a dry run: uploads and jobs."""
    uploads = [Upload(f.name, f.stat().st_size, to, sha256(f)) for f in files]
    jobs = [PlannedJob("compile", c.aihub[0], _RUNTIME, f.name) for c in target.chips for f in files]
    return (*uploads, *jobs)


@contextlib.contextmanager
def sending(
    name: str, target: Target, precision: Precision, service: ServiceOptions | None, progress: Progress
) -> Iterator[Sender]:
    """Opens what sends graphs to the service; without a service it sends nothing. Raises UsageError for a device it lacks."""
    if service is None:
        yield Sender(None, name, precision, ServiceOptions(), "")
        return
    from edgekit.aihub.hub import Hub

    with Hub(progress) as hub:
        for chip in target.chips:
            hub.device(chip.aihub[0])  # before anything is sent
        qairt = hub.toolchain(service.qairt_version, QnnBackend().available().versions.get("QAIRT", ""))
        yield Sender(hub, name, precision, service, qairt)


@dataclass
class Sender:
    """`rows`: the jobs, for the receipt; `versions`: of what ran them."""

    hub: Hub | None
    name: str
    precision: Precision
    service: ServiceOptions
    qairt: str
    rows: list[Job] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        return (_EMULATED,) if any(r.emulated for r in self.rows) else ()

    def compiled(self, path: Path, chip: Chip) -> bytes:
        """The context of a graph; nothing without a service. Raises RemoteError when the job fails."""
        if self.hub is None:
            return b""
        from edgekit.aihub import artefacts
        from edgekit.aihub.hub import Request

        title = f"{self.name}-{self.precision}-{path.stem}"
        id = self.hub.model(sha256(path), f"{title}.onnx", lambda _: path)
        options = {**job_options.check("compile", self.service.hub_options), "target_runtime": _RUNTIME}
        if self.precision is Precision.FP16:
            options["quantize_full_type"] = "float16"
        if self.qairt:
            options["qairt_version"] = self.qairt
        request = Request("compile", f"{title} for {chip.soc}", (id,), chip.aihub[0], job_options.text(options))
        done = self.hub.job(request)
        if not done.model:
            raise RemoteError(f"AI Hub's compile job {done.id} made no model", "", done.url)
        self.rows.append(done.row(chip.aihub[0]))
        self.versions |= {**done.versions, "AI Hub": done.hub}
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            got = self.hub.download(done.model, Path(folder))
            if got.suffix == ".zip":
                got = artefacts.unpacked(got, Path(folder) / "unpacked")
            return artefacts.embedded(got)
