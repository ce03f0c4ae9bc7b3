"""The precisions that a conversion is asked for, checked before any work begins."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from edgekit import registry
from edgekit.backends.base import Backend
from edgekit.conversion.options import Job
from edgekit.errors import MissingError, UsageError
from edgekit.spec import Precision
from edgekit.target import Target
from edgekit.tasks.base import Words


def jobs(targets: Sequence[Target], precisions: Sequence[str], calibration: Path | None, words: Words) -> list[Job]:
    """The precisions asked of each target, or its first. Raises UsageError for one that it does not take, or that needs
    data which is not given, MissingError for a backend that is not ready."""
    listed: list[Job] = []
    for target in targets:
        backend: Backend = registry.load("backends", target.backend)
        availability = backend.available()
        if availability.missing:
            raise MissingError(f"The backend {target.backend} is not ready", availability.missing, availability.install)
        known = backend.precisions(target)
        if not known:
            raise UsageError(f"The backend {target.backend} compiles none of the precisions of {target.name}")
        try:
            requested = [Precision(p) for p in precisions] or [known[0]]
        except ValueError as error:
            raise _no_precision(precisions, target, known) from error
        for precision in requested:
            if precision not in known:
                raise UsageError(
                    f"{target.name} has no {precision}", _why_not(target, precision), f"it takes {', '.join(known)}"
                )
        if any(p.needs_calibration for p in requested) and calibration is None:
            raise UsageError(
                f"Quantising activations needs {words.calibration}",
                "no --calibration was given",
                f"pass --calibration {words.how_much}",
            )
        listed.append((target, requested))
    return listed


_ELSEWHERE = {  # how others write precisions, and what is nearest here
    "int8": ("w8a8", "w8"),
    "i8": ("w8a8", "w8"),
    "uint8": ("w8a8",),
    "a8w8": ("w8a8",),
    "qint8": ("w8a8", "w8"),
    "w8a32": ("w8",),
    "w8a16f": ("w8",),
    "q8": ("w8",),
    "q8_0": ("w8",),
    "dynamic": ("w8",),
    "int16": ("w8a16",),
    "a16w8": ("w8a16",),
    "16x8": ("w8a16",),
    "int4": ("w4",),
    "i4": ("w4",),
    "uint4": ("w4",),
    "q4": ("w4",),
    "q4_0": ("w4",),
    "q4_k_m": ("w4",),
    "nf4": ("w4",),
    "gptq": ("w4",),
    "awq": ("w4",),
    "w4a16": ("w4",),
    "float16": ("fp16",),
    "half": ("fp16",),
    "f16": ("fp16",),
    "bf16": ("fp16", "fp32"),
    "float": ("fp32",),
    "float32": ("fp32",),
    "f32": ("fp32",),
    "none": ("fp32",),
    "1.58bit": ("ternary",),
    "b1.58": ("ternary",),
    "bitnet": ("ternary",),
    "i2_s": ("ternary",),
    "tq1_0": ("ternary",),
    "tq2_0": ("ternary",),
    "int2": ("ternary",),
}


def _no_precision(names: Sequence[str], target: Target, known: Sequence[Precision]) -> UsageError:
    wrong = next(p for p in names if p not in list(Precision))
    names = _ELSEWHERE.get(wrong.lower(), tuple(difflib.get_close_matches(wrong.lower(), known, 1)))
    like = next((n for n in names if n in known), "")
    return UsageError(
        f"There is no precision {wrong}",
        f"the nearest here is {like}" if like else "",
        f"{target.name} takes {', '.join(known)}",
    )


def _why_not(target: Target, precision: Precision) -> str:
    integers = [c for c in target.chips if not c.fp16]
    if precision.is_float and integers:
        chip = integers[0]
        return f"the NPU of {chip.soc} (Hexagon v{chip.htp}) computes in integers only"
    return ""
