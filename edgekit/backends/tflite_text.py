"""Backend: small language models for LiteRT, in one file with two graphs of fixed sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.backends.fixed_text import both, check_family, prompt_step, tokenizer_libraries, without_graph
from edgekit.backends.genai import GenaiBackend
from edgekit.backends.tflite import LARGEST, TfliteBackend
from edgekit.errors import ConversionError
from edgekit.model import AnyModel, as_checkpoint
from edgekit.package import EngineRequirement
from edgekit.progress import Progress
from edgekit.spec import Precision, TextSpec
from edgekit.target import Target

_ARTIFACT = "model.tflite"
_PRECISIONS = (Precision.FP32, Precision.FP16, Precision.W8, Precision.W4)


class TfliteTextBackend:
    name = "tflite-text"
    form = "checkpoint"
    options = ("prompt_step",)

    def available(self) -> Availability:
        return both(TfliteBackend().available(), GenaiBackend().available())

    def precisions(self, target: Target) -> tuple[Precision, ...]:
        return tuple(p for p in target.precisions if p in _PRECISIONS)

    def compile(
        self,
        model: AnyModel,
        target: Target,
        precision: Precision,
        options: CompileOptions,
        work: Path,
        progress: Progress,
    ) -> Artifact:
        from edgekit.tflite.text import text_file
        from edgekit.tflite.text_weights import NAMES

        model = as_checkpoint(model, self.name)
        check_family(model)
        if 4 * (model.source.parameters or 0) > LARGEST:
            raise ConversionError(
                f"{model.name} is too large for TFLite",
                "its weights pass through a file in float32, of no more than 2 GB",
                "convert it for -t cpu",
            )
        context = model.spec_as(TextSpec).context_length
        step, out = prompt_step(options, context), work / "package"
        artifact = GenaiBackend().compile(model, target, Precision.FP32, options, work, progress)
        file = text_file(out, context, step, precision, progress)
        (out / _ARTIFACT).write_bytes(file.data)
        artifact = without_graph(artifact, out, context_length=context, prompt_step=step, weights=NAMES[precision])
        files = sorted(p.relative_to(work).as_posix() for p in out.rglob("*") if p.is_file())
        versions = ">=1.4,<3" if precision is Precision.W4 else ">=1.2,<3"  # 1.2 gets blocks wrong
        engine = EngineRequirement("litert-text", versions, _ARTIFACT, libraries=tokenizer_libraries(artifact))
        return replace(
            artifact, files=tuple(files), engine=engine, versions=self.available().versions, measured=(file.gate,)
        )
