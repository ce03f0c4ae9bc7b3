"""Backend: language models on CPUs, in the folder layout of ONNX Runtime GenAI."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit import registry
from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.model import AnyModel, TextModel
from edgekit.package import EngineRequirement
from edgekit.progress import Progress
from edgekit.spec import Precision
from edgekit.target import Target

_NEEDS = ("torch", "transformers", "onnxruntime_genai", "onnx_ir", "tokenizers", "gguf")
_EMBEDDING_BITS = 8
_WINDOW = 256


class GenaiBackend:
    name = "genai"

    def available(self) -> Availability:
        missing = [n for n in _NEEDS if importlib.util.find_spec(n) is None]
        if missing:
            return Availability(f"not installed: {', '.join(missing)}", "pip install 'edgekit[llm]'")
        return Availability(versions={n: version(n) for n in ("onnxruntime-genai", "transformers")})

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        mine = (Precision.FP32, Precision.W8, Precision.W4, Precision.TERNARY)
        return tuple(p for p in target.precisions if p in mine)

    def compile(
        self, model: AnyModel, target: Target, precision: Precision, options: CompileOptions,
        work: Path, progress: Progress,
    ) -> Artifact:  # fmt: skip
        from edgekit.genai.builder import build

        assert isinstance(model, TextModel)
        network = registry.load("sources", model.source.kind).network(model, "float32")
        settings: dict[str, Any] = {"accuracy_level": 4}
        search: list[dict[str, Any]] = []
        if precision in (Precision.W8, Precision.W4):
            choice = _quantise(network, model, precision, options, progress)
            settings, search = {**settings, **choice.settings}, choice.search
        out = work / "package"
        build(network, model.folder, out, model.spec.context_length)
        files = sorted(p.relative_to(work).as_posix() for p in out.rglob("*") if p.is_file())
        (out / model.spec.vocabulary).write_bytes((model.folder / model.spec.vocabulary).read_bytes())
        files.append(f"package/{model.spec.vocabulary}")
        engine = EngineRequirement("genai", ">=0.18,<1", "model.onnx")
        return Artifact(
            tuple(sorted(files)), engine, self.available().versions, settings, tuple(search)
        )


def _quantise(
    network: Any, model: TextModel, precision: Precision, options: CompileOptions, progress: Progress
) -> Any:
    from edgekit.quantize import language
    from edgekit.quantize.rounding import nearest

    blocks = [int(options.extra["block_size"])] if options.extra.get("block_size") else []
    budget = float(options.extra.get("bits") or language.BUDGET)
    if precision is Precision.W8:
        block = blocks[0] if blocks else 32
        packed = language.round_all(network, 8, block, progress)
        choice = language.Choice(packed, {"block_size": block})
    else:
        windows, how = _windows(network, model, options, progress)
        choice = language.choose(network, windows, progress, budget, blocks)
        choice.settings["decided_on"] = how
    language.apply(network, choice.packed)
    table = network.get_input_embeddings()
    if not hasattr(table, "packed"):
        table.packed = nearest(table.weight.detach().float(), _EMBEDDING_BITS, 32)
    return choice


def _windows(
    network: Any, model: TextModel, options: CompileOptions, progress: Progress
) -> tuple[list[Any], str]:
    """Token ids to decide on, int64 (T,) each: the calibration text, or text the model writes itself."""
    import torch

    from edgekit.quantize.texts import calibration_windows, own_text

    length = min(_WINDOW, model.spec.context_length)
    if options.calibration:
        windows = calibration_windows(
            model, Path(options.calibration), length, options.calibration_images
        )
        return [torch.tensor(w) for w in windows], f"{len(windows)} windows of the calibration text"
    written = own_text(network, model.spec, length, progress)
    return list(written), f"{len(written)} texts of {written.shape[1]} tokens the model wrote itself"
