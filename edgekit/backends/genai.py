"""Backend: language models on CPUs, in the folder layout of ONNX Runtime GenAI."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.errors import UsageError
from edgekit.model import AnyModel, CheckpointModel, as_checkpoint
from edgekit.package import EngineRequirement
from edgekit.package.search import SearchRow
from edgekit.progress import Progress
from edgekit.spec import Precision, TextSpec
from edgekit.system.distribution import install
from edgekit.target import Target

_NEEDS = ("torch", "transformers", "onnxruntime_genai", "onnx_ir", "tokenizers", "gguf")
_HEAD_BITS = 8  # of w8, and of a head that is float among layers that are not
_WINDOW = 256


class GenaiBackend:
    name = "genai"
    form = "checkpoint"
    options = ("bits", "block_size", "mode", "head", "embedding", "kv_cache")

    def available(self) -> Availability:
        missing = [n for n in _NEEDS if importlib.util.find_spec(n) is None]
        if missing:
            return Availability(f"not installed: {', '.join(missing)}", install("llm"))
        return Availability(versions={n: version(n) for n in ("onnxruntime-genai", "transformers")})

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        mine = (Precision.FP32, Precision.FP16, Precision.W8, Precision.W4, Precision.TERNARY)
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
        from edgekit.genai.agreement import Probe
        from edgekit.genai.builder import build
        from edgekit.quantize import kv_cache, language
        from edgekit.sources.network import network_of

        model = as_checkpoint(model, self.name)
        source_spec = model.spec_as(TextSpec)
        network = network_of(model, "float32")
        mode, context = _mode(network, model, precision, options), source_spec.context_length
        settings: dict[str, Any] = {} if precision.is_float else {"accuracy_level": 4}
        search: tuple[SearchRow, ...] = ()
        cache = None
        if not precision.is_float:
            windows = functools.cache(lambda: _windows(network, model, options, progress))
            if options.text("kv_cache") == "int8":  # while the weights are the source's
                cache = kv_cache.scales(network, windows()[0], context, progress)
                settings["kv_cache"] = {"holds": "int8, a scale a channel", "decided_on": windows()[1]}
            choice = _quantise(network, model, precision, options, windows, progress)
            settings, search = {**settings, **choice.settings}, choice.search
        else:
            language.unpack(network)
        if precision is Precision.TERNARY:
            settings["mode"] = mode
        out = work / "package"
        half = precision is Precision.FP16
        # before the builder rewires the network
        probe = Probe(network, source_spec) if precision.is_float else None
        build(network, model.folder, out, context, mode=mode, cache=cache, store_half=half)
        if probe:
            probe.check(out)
        files = sorted(p.relative_to(work).as_posix() for p in out.rglob("*") if p.is_file())
        (out / source_spec.vocabulary).write_bytes((model.folder / source_spec.vocabulary).read_bytes())
        files.append(f"package/{source_spec.vocabulary}")
        spec, notes = _tokenizer(out, model)
        reference = {"tokenizers": ">=0.22,<1"} if spec.tokenizer == "tokenizers" else {}
        engine = EngineRequirement("genai", ">=0.18,<0.19", "model.onnx", libraries=reference)
        spec = kv_cache.in_int8(spec) if cache else spec
        notes = (*getattr(network, "reading_notes", ()), *notes)
        versions = self.available().versions
        return Artifact(tuple(sorted(files)), engine, versions, settings, search, notes, spec, root="package")


def _mode(network: Any, model: CheckpointModel, precision: Precision, options: CompileOptions) -> Any:
    """How BitNet's layers are written. Raises UsageError for weights that do not suit the precision."""
    from edgekit.layers.packed import PackedLinear
    from edgekit.layers.ternary import TernaryLinear

    rounded = any(isinstance(m, TernaryLinear) for m in network.modules())
    two_bits = any(isinstance(m, PackedLinear) and m.packed.bits == 2 for m in network.modules())
    if precision is Precision.TERNARY and not rounded and not two_bits:
        raise UsageError(
            f"{model.source.name} has no ternary weights",
            "only a model trained for them has: BitNet b1.58",
            "use -p w4 or -p w8",
        )
    if precision in (Precision.W4, Precision.W8) and rounded:
        raise UsageError(
            f"{model.source.name} has ternary weights, which {precision} would only make larger",
            "",
            "use -t cpu -p ternary, or a float precision",
        )
    suits = precision.is_float or precision in (Precision.TERNARY, model.native)
    if _keeps_integers(network) and not suits:
        raise UsageError(
            f"{model.source.name} is quantised to {model.native} already",
            "its integers are kept, not rounded again",
            f"use -p {model.native}, or convert the float original to {precision}",
        )
    return "float" if precision.is_float else options.text("mode") or "exact"


def _quantise(
    network: Any,
    model: CheckpointModel,
    precision: Precision,
    options: CompileOptions,
    windows: Callable[[], tuple[list[Any], str]],
    progress: Progress,
) -> Any:
    """Packs what is float still: every layer, or the head of a model that is quantised already."""
    from edgekit.quantize import language, tables

    block_size = options.whole("block_size")
    blocks = [block_size] if block_size else []
    fixed = tables.head_bits(network, options.text("head"), options.text("embedding"))
    tied = network.get_input_embeddings().weight is network.get_output_embeddings().weight
    if precision is Precision.W4 and not _keeps_integers(network):
        texts, how = windows()
        budget = float(options.values.get("bits", language.BUDGET))
        choice = language.choose(network, texts, progress, budget, blocks, fixed)
        choice.settings["decided_on"] = how
    else:
        block = blocks[0] if blocks else 32
        packed = language.round_all(network, _HEAD_BITS, block, progress, fixed=fixed)
        choice = language.Choice(
            packed, {"kept": "as in the source"} if _keeps_integers(network) else {"block_size": block}
        )
    language.apply(network, choice.packed)
    choice.settings |= tables.settle_embedding(network, options.text("embedding"), tied)
    return choice


def _keeps_integers(network: Any) -> bool:
    """Whether the source quantised it already."""
    from edgekit.layers.packed import PackedLinear
    from edgekit.layers.ternary import TernaryLinear

    return any(isinstance(m, (PackedLinear, TernaryLinear)) for m in network.modules())


def _tokenizer(out: Path, model: CheckpointModel) -> tuple[TextSpec, tuple[str, ...]]:
    """Which tokenizer the device takes: the engine's own, where it gives what the reference gives."""
    from edgekit.genai.agreement import disagreements
    from edgekit.runtime.engines.genai_tokenizer import GenaiTokenizer
    from edgekit.sources.tokenizer import read_tokenizer

    spec = model.spec_as(TextSpec)
    count, other = disagreements(GenaiTokenizer(out).encode, read_tokenizer(model.folder))
    if not other:
        return spec, ()
    note = (
        f"ONNX Runtime GenAI's own tokenizer differs from the model's on {len(other)} of {count} texts (the first: "
        f"{other[0][:40]!r}): edgekit's runtime takes the tokenizers library, other languages must as well"
    )
    return replace(spec, tokenizer="tokenizers"), (note,)


def _windows(
    network: Any, model: CheckpointModel, options: CompileOptions, progress: Progress
) -> tuple[list[Any], str]:
    """Token ids to decide on, int64 (T,) each: the calibration text, or text the model writes itself."""
    import torch

    from edgekit.quantize.texts import calibration_windows, own_text

    spec = model.spec_as(TextSpec)
    length = min(_WINDOW, spec.context_length)
    if options.calibration:
        windows = calibration_windows(model, Path(options.calibration), length, options.calibration_count)
        return [torch.tensor(w) for w in windows], f"{len(windows)} windows of the calibration text"
    written = own_text(network, spec, length, progress)
    return list(written), f"{len(written)} texts of {written.shape[1]} tokens the model wrote itself"
