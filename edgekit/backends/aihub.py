"""Backend: Qualcomm AI Hub compiles, from the same prepared graph that edgekit compiles itself."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.aihub import environment, job_options
from edgekit.aihub.service_options import ServiceOptions
from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.backends.qnn import QnnBackend, advice, figures, not_installed
from edgekit.data.images import Dataset
from edgekit.errors import MissingError, RemoteError, UsageError
from edgekit.model import AnyModel, as_graph
from edgekit.package import EngineRequirement
from edgekit.package.search import Job, PlannedJob, Upload
from edgekit.progress import Progress
from edgekit.sources.files import sha256
from edgekit.spec import DetectionSpec, Precision
from edgekit.system.distribution import install
from edgekit.target import Chip, Target

if TYPE_CHECKING:
    from edgekit.aihub.hub import Done, Hub


@dataclass(frozen=True)
class _Runtime:
    """What a runtime's result is: the engine that opens it, its versions, the file's ending, and whether it holds
    contexts of QAIRT."""

    engine: str
    versions: str
    ending: str
    qairt: bool = False
    contexts: bool = False


_RUNTIMES = {
    "precompiled_qnn_onnx": _Runtime("qnn", "", "onnx", True, True),
    "qnn_context_binary": _Runtime("qnn", "", "onnx", True, True),
    "qnn_dlc": _Runtime("qnn-dlc", ">=2", "dlc", True),
    "tflite": _Runtime("litert", ">=1.2,<3", "tflite"),
    "onnx": _Runtime("onnxruntime", ">=1.20,<2", "onnx"),
}
_GRAPH = "edgekit"  # what the graph inside a context is called
_BITS = {Precision.W8A8: "INT8", Precision.W8A16: "INT16"}


class AiHubBackend:
    name = "aihub"
    form = "graph"
    options = ("float_layers",)

    def available(self) -> Availability:
        missing = not_installed("onnx", "onnxruntime")
        if missing:
            return Availability(missing, install("convert"))
        try:
            python = environment.client_python()
        except MissingError as error:
            return Availability(error.what, error.next)
        return Availability(versions={"qai-hub": environment.client_version(python)})

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        return QnnBackend().precisions(target)

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        from edgekit.aihub.hub import Hub
        from edgekit.graph.oldest_form import write_oldest
        from edgekit.qnn.libraries import ONNXRUNTIME, provider_versions
        from edgekit.qnn.prepare import prepare
        from edgekit.quantize.comparison import calibration_of

        model = as_graph(model, self.name)
        service = options.service or ServiceOptions()
        for chip in target.chips:
            if not chip.aihub:
                raise UsageError(
                    f"AI Hub has no device with a {chip.soc}", "", "leave --via aihub out: edgekit compiles it here"
                )
        calibrating = (
            calibration_of(model, options.calibration, options.calibration_count) if options.calibration else None
        )
        ready = prepare(
            model,
            precision,
            calibrating,
            options.whole("float_layers"),
            (),
            progress,
            elsewhere=service.quantises_there,
        )
        sent = work / "upload.onnx"
        sent.write_bytes(ready.graph.SerializeToString(deterministic=True))
        data = (
            _calibration(calibrating, ready.spec)
            if service.quantises_there and calibrating and not precision.is_float
            else {}
        )
        if service.dry_run:
            return _said(sent, data, target, service)
        with Hub(progress) as hub:
            local = QnnBackend().available().versions.get("QAIRT", "")  # where it compiles at all
            for chip in target.chips:
                hub.device(chip.aihub[0])  # before anything is sent
            qairt = hub.toolchain(service.qairt_version, local) if _RUNTIMES[service.runtime].qairt else ""
            runs = _Runs(hub, model.name, precision, service, qairt, ready.spec, sent, data)
            chips: dict[str, str] = {}
            rows: list[Job] = []
            for chip in target.chips:
                file = f"model-{chip.soc}.{_RUNTIMES[service.runtime].ending}"
                (work / file).write_bytes(runs.artefact(chip))
                if file.endswith(".onnx"):
                    write_oldest(work / file)  # before its hash stands for the service's own model
                hub.model_is(sha256(work / file), runs.jobs[-1].model)
                chips.update(dict.fromkeys((chip.soc, *chip.android), file))
                rows += [j.row(chip.aihub[0]) for j in runs.jobs]
                runs.jobs.clear()
        sent.unlink()
        runtime = _RUNTIMES[service.runtime]
        first = next(iter(chips.values()))
        engine = EngineRequirement(runtime.engine, runtime.versions, first)
        if runtime.contexts:
            needs = provider_versions(runs.versions.get("QAIRT", ""))
            engine = EngineRequirement(runtime.engine, needs, first, chips, {"onnxruntime": ONNXRUNTIME})
        notes = list(advice(model, target, precision))
        if any(r.emulated for r in rows):
            notes.append("compiled by an emulator of AI Hub on this machine, not by Qualcomm's service")
        return Artifact(
            tuple(dict.fromkeys(chips.values())),
            engine,
            {**self.available().versions, **runs.versions},
            {
                **ready.settings,
                "runtime": service.runtime,
                "options": service.hub_options,
                "qairt_version": qairt,
                "quantised_by": "AI Hub" if data else "edgekit",
                "chips": [c.soc for c in target.chips],
            },
            (*ready.search, *rows),
            tuple(notes),
            ready.spec,
            (*ready.gates, *figures(model, target, precision)),
        )


def _calibration(images: Dataset, spec: DetectionSpec) -> dict[str, Any]:
    import numpy as np

    from edgekit.quantize.calibration import feeds

    return {spec.input.name: np.stack([f[spec.input.name] for f in feeds(images, spec)])}


@dataclass
class _Runs:
    """The jobs that lead from the prepared graph to an artefact."""

    hub: Hub
    name: str
    precision: Precision
    service: ServiceOptions
    qairt: str
    spec: DetectionSpec
    sent: Path
    data: dict[str, Any]

    def __post_init__(self) -> None:
        self.jobs: list[Done] = []
        self.versions: dict[str, str] = {}

    def artefact(self, chip: Chip) -> bytes:
        """The file that the engine opens."""
        from edgekit.aihub import artefacts

        model = self._source()
        runtime = "qnn_dlc" if self.service.link else self.service.runtime
        model = self._run("compile", model, chip, self._compile_options(runtime))
        if self.service.link:
            model = self._run("link", model, chip, job_options.text(self._pin()))
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            got = self.hub.download(model, Path(folder))
            if got.suffix == ".zip":
                return artefacts.embedded(artefacts.unpacked(got, Path(folder) / "unpacked"))
            if self.service.runtime == "qnn_context_binary":
                graph = self.jobs[-1].metadata.get("QNN_MODEL_GRAPH_NAMES", _GRAPH).split(",")[0]
                return artefacts.wrapped(got.read_bytes(), graph, self.spec, self.versions.get("QAIRT", ""))
            return got.read_bytes()

    def _source(self) -> str:
        id = self.hub.model(sha256(self.sent), f"{self.name}.onnx", lambda _: self.sent)
        if not self.data:
            return id
        from edgekit.aihub.hub import Request

        dataset = self.hub.dataset(self.data, f"{self.name}-calibration")
        return self._done(
            Request(
                "quantize",
                f"{self.name} {self.precision}",
                (id,),
                dataset=dataset,
                weights="INT8",
                activations=_BITS[self.precision],
            )
        ).model

    def _compile_options(self, runtime: str) -> str:
        options = job_options.check("compile", self.service.hub_options)
        options["target_runtime"] = runtime
        if _RUNTIMES[runtime].qairt:
            options.setdefault("qnn_options", f"context_enable_graphs={_GRAPH}")
            if not self.precision.is_float and self.data:
                options["quantize_io"] = ""
            if self.precision is Precision.FP16:
                options["quantize_full_type"] = "float16"
            options.update(self._pin())
        return job_options.text(options)

    def _pin(self) -> dict[str, str]:
        return {"qairt_version": self.qairt} if self.qairt else {}

    def _run(self, kind: str, model: str, chip: Chip, options: str) -> str:
        from edgekit.aihub.hub import Request

        title = f"{self.name} {self.precision} for {chip.soc}"
        return self._done(Request(kind, title, (model,), chip.aihub[0], options)).model

    def _done(self, request: Any) -> Done:
        done = self.hub.job(request)
        if not done.model:
            raise RemoteError(f"AI Hub's {request.kind} job {done.id} made no model", "", done.url)
        self.jobs.append(done)
        self.versions |= {**done.versions, "AI Hub": done.hub}
        return done


def _said(sent: Path, data: dict[str, Any], target: Target, service: ServiceOptions) -> Artifact:
    """An artefact that lists what would be sent, for a dry run."""
    uploads = [Upload("model", sent.stat().st_size, service.url, sha256(sent))]
    if data:
        size = sum(a.nbytes for a in data.values())
        uploads.append(Upload("calibration images", size, service.url))
    kinds = [*(["quantize"] if data else []), "compile", *(["link"] if service.link else [])]
    jobs = [PlannedJob(k, chip.aihub[0], service.runtime) for chip in target.chips for k in kinds]
    engine = EngineRequirement("none", "", sent.name)
    return Artifact((sent.name,), engine, settings={"dry_run": True}, search=(*uploads, *jobs))
