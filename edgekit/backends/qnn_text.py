"""Backend: language models on Snapdragon NPUs, in two graphs of fixed sizes: prompts, and token by token.

Weights become small integers as they do for CPUs (genai.py, whose graph is taken here); activations
are float16 in the NPU.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgekit import cache
from edgekit.backends import qnn_text_hub
from edgekit.backends.base import Artifact, Availability, CompileOptions, read_artifact, write_artifact
from edgekit.backends.fixed_text import both, check_family, number, prompt_step, tokenizer_libraries, without_graph
from edgekit.backends.genai import GenaiBackend
from edgekit.backends.qnn import QnnBackend, check_chips
from edgekit.backends.qnn_text_hub import Sender
from edgekit.model import AnyModel, CheckpointModel, as_checkpoint
from edgekit.package import EngineRequirement
from edgekit.package.receipt import Measurement, Provenance
from edgekit.progress import Progress
from edgekit.spec import Precision, TextSpec, spec_as, to_json
from edgekit.target import Chip, Target

_AS_BUILT = {Precision.FP16: Precision.FP32}  # the NPU makes float16 of it
_PART = 1_500_000_000  # bytes of weights in a context; a protobuf holds 2^31
_UNSHARED = "each graph holds the weights: the compiler can share them, and its simulator cannot open the result"


class QnnTextBackend:
    name = "qnn-text"
    form = "checkpoint"
    options = ("bits", "block_size", "part_bytes", "prompt_step")

    def available(self) -> Availability:
        return both(QnnBackend().available(), GenaiBackend().available())

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        check_chips(target)
        mine = (Precision.FP16, Precision.W4, Precision.W8)
        floats = all(c.fp16 for c in target.chips)
        return tuple(p for p in target.precisions if p in mine and floats)

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        from edgekit.qnn.libraries import ONNXRUNTIME_WITH_GENAI, provider_versions

        model = as_checkpoint(model, self.name)
        check_family(model)
        service = options.service
        if service:
            qnn_text_hub.check(service)
        ready, artifact = _prepared(model, target, precision, options, progress)
        out, graphs = work / "package", sorted((ready / "graphs").iterdir())
        if service and service.dry_run:
            return replace(artifact, files=(), search=qnn_text_hub.said(graphs, target, service.url))
        shutil.copytree(ready / "package", out)
        chips: dict[str, str] = {}
        with qnn_text_hub.sending(model.name, target, precision, service, progress) as sender:
            for chip in target.chips:
                _compiled(graphs, chip, out / chip.soc, progress, sender)
                chips.update(dict.fromkeys((chip.soc, *chip.android), f"{chip.soc}/token-0.onnx"))
        tools = {**self.available().versions, **sender.versions}
        qairt = (sender.versions if sender.hub else tools).get("QAIRT", "")
        engine = EngineRequirement(
            "qnn-text",
            provider_versions(qairt),
            f"{target.chips[0].soc}/token-0.onnx",
            chips,
            {"onnxruntime": ONNXRUNTIME_WITH_GENAI, **tokenizer_libraries(artifact)},
        )
        nodes = sum(_nodes(g) for g in graphs)
        placed = Measurement(
            "gate",
            "compiled: nodes on the NPU",
            float(nodes),
            "1",
            Provenance.MEASURED,
            note="all but the lookup of tokens: the compiler may leave none to the CPU",
        )
        files = sorted(p.relative_to(work).as_posix() for p in out.rglob("*") if p.is_file())
        notes = (*artifact.notes, *sender.notes, *(n for c in target.chips for n in c.notes), _UNSHARED)
        return replace(
            artifact,
            files=tuple(files),
            notes=notes,
            search=(*artifact.search, *sender.rows),
            versions=tools,
            engine=engine,
            settings={**artifact.settings, "chips": [c.soc for c in target.chips]},
            measured=(*artifact.measured, placed),
        )


def _prepared(
    model: CheckpointModel, target: Target, precision: Precision, options: CompileOptions, progress: Progress
) -> tuple[Path, Artifact]:
    """A folder with the package but for its contexts, and the graphs to compile; and the CPU backend's
    account of it, with the gate of these graphs. Kept by content, since every chip gets the same."""
    context = model.spec_as(TextSpec).context_length
    step = prompt_step(options, context)
    limit = number(options, "part_bytes", _PART)
    key = cache.key(
        source=to_json(model.source),
        spec=to_json(model.spec),
        precision=precision.value,
        text=options.calibration_sha256,
        windows=options.calibration_count,
        values=options.values,
        tools=GenaiBackend().available().versions,
    )

    def make(folder: Path) -> None:
        import onnx

        from edgekit.qnn.half_cache import half_cache
        from edgekit.qnn.text_prepare import prepare_text

        out, graphs = folder / "package", folder / "graphs"
        artifact = GenaiBackend().compile(model, target, _AS_BUILT.get(precision, precision), options, folder, progress)
        graphs.mkdir()
        ready = prepare_text(out, graphs, context, step, limit, precision.is_float, progress)
        for path in (*ready.prompt, *ready.token):
            onnx.save(half_cache(onnx.load(str(path))), str(path))
        shutil.move(ready.host, out)
        artifact = without_graph(artifact, out, context_length=context, prompt_step=step, parts=len(ready.token))
        spec = spec_as(artifact.spec or model.spec, TextSpec, model.name)
        spec = replace(spec, kv_cache="float16", kv_cache_bytes=spec.kv_cache_bytes // 2)
        artifact = replace(artifact, measured=(ready.gate,), spec=spec)
        write_artifact(artifact, folder)

    folder = cache.step(f"prepared-text-{key}", make)
    return folder, read_artifact(folder)


def _compiled(files: Sequence[Path], chip: Chip, into: Path, progress: Progress, sender: Sender) -> None:
    """Contexts of the same names in `into`, made here or by AI Hub."""
    import onnx

    from edgekit.qnn.context import compile_context

    into.mkdir()
    for index, path in enumerate(files):
        progress(f"compiling for {chip.soc}", index, len(files))
        context = sender.compiled(path, chip) or compile_context(onnx.load(str(path)), chip)
        (into / path.name).write_bytes(context)
    progress(f"compiling for {chip.soc}", len(files), len(files))


def _nodes(path: Path) -> int:
    import onnx

    return len(onnx.load(str(path)).graph.node)
