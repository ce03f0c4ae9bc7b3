"""The task `text-generation`: causal language models, text in and text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit import progress
from edgekit.backends.base import Artifact, CompileOptions
from edgekit.model import AnyModel, as_checkpoint
from edgekit.options import Values
from edgekit.package import Content
from edgekit.package.receipt import Receipt
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision, TextSpec
from edgekit.target import Target
from edgekit.tasks.base import Judge, Reader, Request, Retry, Words
from edgekit.tasks.columns import Column, Quality
from edgekit.tasks.order import float_first, with_float_parent
from edgekit.tasks.text.options import OPTIONS
from edgekit.tasks.text.texts import TextData

if TYPE_CHECKING:
    pass

_LARGE_PARENT = 500_000_000  # parameters from which on no float package is made to compare speed with


class TextTask:
    name = TextSpec.task
    form = "checkpoint"
    words = Words(
        "a language model", "language models", "text like that the model will read", "TEXT; some pages are enough"
    )
    options = OPTIONS
    limits: Mapping[str, float] = {"kl": 0.1}  # mean nats a token
    columns = (
        Column(
            "accuracy",
            "KL divergence",
            "KL",
            "nats",
            "divergence from the float original's predictions, a token",
            "low",
            decimals=4,
            brief="KL",
            brief_decimals=4,
        ),
        Column(
            "accuracy",
            "perplexity",
            "Perplexity",
            "",
            "of the artefact itself on the text",
            "low",
            decimals=3,
            brief="perplexity",
            brief_decimals=3,
        ),
        Column(
            "accuracy",
            "same top token",
            "Same top",
            "0–1",
            "how often float finds the same token likeliest",
            "high",
            decimals=3,
        ),
        Column(
            "speed",
            "decode",
            "Decode",
            "tok/s",
            "tokens written a second, with an empty context",
            "high",
            decimals=1,
            brief="tok/s",
            brief_decimals=1,
            per_device=True,
        ),
        Column(
            "speed",
            "decode, full context",
            "Full",
            "tok/s",
            "the same with a full context",
            "high",
            decimals=1,
            per_device=True,
        ),
        Column(
            "speed",
            "prompt",
            "Prompt",
            "tok/s",
            "tokens of a prompt read a second",
            "high",
            decimals=1,
            per_device=True,
        ),
    )
    qualities = (
        Quality(
            "Divergence from float",
            "KL, nats a token",
            "accuracy",
            "KL divergence",
            "{:.4f} nats",
            "divergence not measured",
            "Down and to the left is better.",
            "writing a token, median ms",
        ),
    )
    judged = ("KL divergence",)
    evidence = ("KL divergence",)

    def data(self, request: Request) -> TextData:
        from edgekit.data.texts import fingerprint, read_texts

        calibration = fingerprint(read_texts(request.calibration)) if request.calibration else ""
        if request.evaluation is None:
            return TextData(calibration_sha256=calibration)
        return TextData(tuple(read_texts(request.evaluation)), request.evaluation.name, calibration)

    def canonical(self, model: AnyModel, reading: SourceOptions) -> AnyModel:
        return model

    def check(self, model: AnyModel, data: TextData, request: Request) -> None:
        from edgekit.quantize.kv_cache import in_int8

        spec = model.spec_as(TextSpec)
        spec = in_int8(spec) if request.values.get("kv_cache") == "int8" else spec
        progress.note(
            f"{request.name or model.name}: {spec.context_length} tokens of context, for which the KV cache takes "
            f"{spec.kv_cache_bytes / 1e6:.0f} MB"
        )

    def natural(self, model: AnyModel, target: Target) -> Sequence[str]:
        """The precision that the source is quantised to, where the target has it."""
        native = as_checkpoint(model, self.name).native
        return [native.value] if native in target.precisions else []

    def order(self, model: AnyModel, target: Target, precisions: Sequence[Precision]) -> list[Precision]:
        if (model.source.parameters or 0) > _LARGE_PARENT:
            return float_first(precisions)
        return with_float_parent(target, precisions)

    def suffix(self, values: Values) -> str:
        fast = "-fast" if values.get("mode") == "fast" else ""
        return fast + ("-kv8" if values.get("kv_cache") == "int8" else "")

    def files(self, model: AnyModel) -> dict[str, Content]:
        return {}  # the engine's own layout has all of them

    def retry(self, artifact: Artifact, receipt: Receipt, options: CompileOptions) -> Retry | None:
        return None

    def remoteness(self, receipt: Receipt) -> float:
        return 0.0

    def judge(self, model: AnyModel, data: TextData, request: Request, command: str, read: Reader) -> Judge:
        from edgekit.tasks.text.judge import TextJudge

        return TextJudge(as_checkpoint(model, self.name), data, request, command, self.limits)

    def advice(self, precision: Precision) -> str:
        if precision.needs_calibration:
            return "more --calibration text like that it will read"
        named = {Precision.W4: "more --bits a weight, -p w8", Precision.TERNARY: "--mode exact, a float precision"}
        return named.get(precision, "a float precision")
