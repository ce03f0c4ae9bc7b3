"""What is asked of a conversion, checked before any work begins."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit import registry
from edgekit.backends.base import Backend
from edgekit.errors import MissingError, UsageError
from edgekit.package.receipt import Reason
from edgekit.spec import Precision
from edgekit.target import Target, find_target, merge

Job = tuple[Target, list[Precision]]


def targets(names: Sequence[str], merged: bool, via: str) -> list[Target]:
    """`via`: the service that compiles in place of each target's own backend; "" for none.

    Raises UsageError for unknown targets, and those that cannot be merged or sent there.
    """
    found = [find_target(t) for t in names]
    found = [merge(found)] if merged else found
    if not via:
        return found
    if via != "aihub":
        raise UsageError(f"--via {via} is not known", "", "there is --via aihub")
    for target in found:
        if not target.chips:
            raise UsageError(
                f"{target.name} is not compiled by AI Hub",
                "it is no Snapdragon",
                "leave --via out; edgekit targets lists what there is",
            )
        for chip in target.chips:
            if not chip.aihub:
                raise UsageError(
                    f"AI Hub has no device with a {chip.soc}", "", "leave --via aihub out: edgekit compiles it here"
                )
    return [dataclasses.replace(t, backend=via) for t in found]


def service(wanted: Sequence[Target], extra: Mapping[str, str]) -> dict[str, str]:
    """`extra`, completed for the service that compiles, which is asked whether it is ready.

    Raises UsageError for options it would refuse, MissingError without client or token, RemoteError
    when it does not take the token.
    """
    if not any(t.backend == "aihub" for t in wanted):
        if any(extra.values()):
            raise UsageError(
                f"{', '.join('--' + k.replace('_', '-') for k, v in extra.items() if v)} is for AI Hub",
                "",
                "add --via aihub",
            )
        return {}
    from edgekit.aihub.hub import Hub
    from edgekit.backends.aihub import Wanted

    if Wanted.of(extra).dry_run:
        return {**extra, "service": _destination()}
    with Hub() as hub:
        for chip in (c for t in wanted for c in t.chips):
            hub.device(chip.aihub[0])
        return {**extra, "service": hub.url}  # what one service made is not another's


def _destination() -> str:
    """Where a dry run would send."""
    from edgekit.aihub.environment import service_url

    try:
        return service_url()
    except MissingError as error:
        return f"nowhere yet: {error.what}"


def jobs(targets: Sequence[Target], precisions: Sequence[str], calibration: str | Path | None) -> list[Job]:
    """The precisions asked of each target; checked before any work begins."""
    found: list[Job] = []
    for target in targets:
        backend: Backend = registry.load("backends", target.backend)
        have = backend.available()
        if have.missing:
            raise MissingError(f"The backend {target.backend} is not ready", have.missing, have.install)
        known = backend.precisions(target)
        if not known:
            raise UsageError(f"The backend {target.backend} compiles none of the precisions of {target.name}")
        try:
            wanted = [Precision(p) for p in precisions] or [known[0]]
        except ValueError as error:
            raise _no_precision(precisions, target, known) from error
        for precision in wanted:
            if precision not in known:
                raise UsageError(
                    f"{target.name} has no {precision}", _why_not(target, precision), f"it takes {', '.join(known)}"
                )
        if any(p.needs_calibration for p in wanted) and calibration is None:
            text = getattr(backend, "text", False)
            like = "text like that the model will read" if text else "images like those the detector will see"
            given = "TEXT; some pages are enough" if text else "FOLDER; 32 to 128 images are enough"
            raise UsageError(
                f"Quantising activations needs {like}", "no --calibration was given", f"pass --calibration {given}"
            )
        found.append((target, wanted))
    return found


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


def _no_precision(asked: Sequence[str], target: Target, known: Sequence[Precision]) -> UsageError:
    wrong = next(p for p in asked if p not in list(Precision))
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


def with_parent(target: Target, asked: Sequence[Precision]) -> list[Precision]:
    """The precisions to compile, float ones first; a quantised one needs a float parent."""
    order = sorted(dict.fromkeys(asked), key=lambda p: not p.is_float)
    if order and not order[0].is_float and "local" in target.devices:  # to be timed against
        floats = [p for p in target.precisions if p.is_float]
        order = [*floats[:1], *order]
    return order


def reason(text: str) -> Reason:
    try:
        return Reason(text)
    except ValueError as error:
        raise UsageError(f"--allow does not know {text}", "", f"reasons: {', '.join(Reason)}") from error
