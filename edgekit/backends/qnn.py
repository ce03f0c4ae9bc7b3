"""Backend: Snapdragon NPUs, compiled here and run in Qualcomm's simulator before it is believed."""

from __future__ import annotations

import importlib.util
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.errors import UsageError
from edgekit.model import AnyModel, GraphModel, as_graph
from edgekit.package import EngineRequirement
from edgekit.package.receipt import Measurement, Provenance
from edgekit.progress import Progress
from edgekit.spec import Precision
from edgekit.system.distribution import install
from edgekit.target import Published, Target

if TYPE_CHECKING:
    from edgekit.qnn.prepare import Prepared

_NEEDS = ("onnx", "onnxruntime", "onnxruntime_qnn")
_INSTALL = install("convert,qnn")
_ATTEMPTS = 3  # each with the nodes in float that the NPU does not take as integers


class QnnBackend:
    name = "qnn"
    form = "graph"
    options = ("float_layers",)

    def available(self) -> Availability:
        from edgekit.runtime.engines.qnn import compiler, simulated

        if not simulated():  # what is not simulated is not believed
            return Availability(
                f"Qualcomm's simulator runs on x86 Linux, and this is {platform.system()} {platform.machine()}",
                "convert there, or add --via aihub",
            )
        missing = not_installed(*_NEEDS)
        if missing:
            return Availability(missing, _INSTALL)
        toolchain = {n: version(n) for n in ("onnxruntime", "onnxruntime-qnn")}
        return Availability(versions={**toolchain, "QAIRT": compiler().removeprefix("QAIRT ")})

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        check_chips(target)
        mine = (Precision.FP16, Precision.W8A16, Precision.W8A8)
        return tuple(p for p in target.precisions if p in mine)

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        from edgekit.qnn.context import PlacementError, compile_context
        from edgekit.qnn.libraries import ONNXRUNTIME, provider_versions
        from edgekit.qnn.prepare import prepare
        from edgekit.quantize.comparison import calibration_of

        model = as_graph(model, self.name)
        calibrating = (
            calibration_of(model, options.calibration, options.calibration_count) if options.calibration else None
        )
        left: set[str] = set()  # nodes in float
        for attempt in range(_ATTEMPTS):
            ready = prepare(model, precision, calibrating, options.whole("float_layers"), left, progress)
            try:
                contexts = {}
                for index, chip in enumerate(target.chips):
                    progress("compiling for the NPU", index, len(target.chips))
                    contexts[chip.soc] = compile_context(ready.graph, chip, ready.names)
                progress("compiling for the NPU", len(target.chips), len(target.chips))
                break
            except PlacementError as error:
                more = {n.node for n in error.nodes} - left
                hopeless = precision.is_float or not more or attempt == _ATTEMPTS - 1
                if hopeless or not all(c.fp16 for c in target.chips):
                    raise
                left |= more
        chips = {}
        for chip in target.chips:
            file = f"model-{chip.soc}.onnx"
            (work / file).write_bytes(contexts[chip.soc])
            chips.update(dict.fromkeys((chip.soc, *chip.android), file))
        tools = self.available().versions
        engine = EngineRequirement(
            "qnn",
            provider_versions(tools["QAIRT"]),
            f"model-{target.chips[0].soc}.onnx",
            chips,
            {"onnxruntime": ONNXRUNTIME},
        )
        return Artifact(
            tuple(dict.fromkeys(chips.values())),
            engine,
            tools,
            {**ready.settings, "chips": [c.soc for c in target.chips]},
            ready.search,
            advice(model, target, precision),
            ready.spec,
            (*ready.gates, _placed(ready), *figures(model, target, precision)),
        )


def check_chips(target: Target) -> None:
    """Raises UsageError for a target that does not say which chip its packages are for."""
    if not target.chips:
        raise UsageError(
            f"The target {target.name} names no chip",
            "its file has no [chip], and a Snapdragon's compiler needs one",
            "add it as docs/format.md says",
        )


def not_installed(*modules: str) -> str:
    """Which of `modules` are not there, as a reason; "" when all are."""
    missing = [m.replace("_", "-") for m in modules if importlib.util.find_spec(m) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def _placed(ready: Prepared) -> Measurement:
    return Measurement(
        "gate",
        "compiled: nodes on the NPU",
        float(len(ready.graph.graph.node)),
        "1",
        Provenance.MEASURED,
        note="all of them: the compiler may not leave any to the CPU",
    )


def _published(model: GraphModel, target: Target, precision: Precision) -> list[Published]:
    """Figures of others for networks with the same operator in them."""
    from edgekit.graph.count import has_operator

    return [p for p in target.published if p.precision is precision and has_operator(model.graph, p.operator)]


def figures(model: GraphModel, target: Target, precision: Precision) -> tuple[Measurement, ...]:
    """Figures that others published of such networks on this chip, as measurements of a receipt."""
    return tuple(_figure(p, precision) for p in _published(model, target, precision))


def _figure(p: Published, precision: Precision) -> Measurement:
    how = f"{p.source}. There {p.operator} was quantised; here it is a convolution, which is unproven"
    if p.float_ms is None:
        return Measurement(
            "latency",
            f"published of {p.model}",
            p.ms / 1e3,
            "s",
            Provenance.PUBLISHED,
            device=p.device,
            note=f"as {precision}; {how}",
        )
    note = f"{p.model}: {p.ms:g} ms as {precision}, {p.float_ms:g} ms in float; {how}"
    return Measurement(
        "latency", "published ratio to float", p.ms / p.float_ms, "1", Provenance.PUBLISHED, device=p.device, note=note
    )


def _advice(p: Published) -> str:
    here = (
        f"this package computes its {p.operator} as a convolution, which may help and is unproven "
        "until a device has measured it"
    )
    if p.float_ms is None:
        return f"published: {p.ms:.0f} ms on {p.device} for {p.model}; {here}"
    if p.ms <= p.float_ms:
        return f"published: faster than float ({p.model} on {p.device}, {p.ms / p.float_ms:.2f} times)"
    return (
        f"published: slower than float. {p.model} took {p.ms / p.float_ms:.0f} times as long on "
        f"{p.device}; {here}. Take fp16 until then"
    )


def advice(model: GraphModel, target: Target, precision: Precision) -> tuple[str, ...]:
    """Notes on this chip and precision for the receipt, whoever compiles."""
    notes = [note for chip in target.chips for note in chip.notes]
    if precision is not Precision.FP16 and not all(c.fp16 for c in target.chips):
        notes.append("no float parent: the NPU has no floating point")
    return (*notes, *(_advice(p) for p in _published(model, target, precision)))
