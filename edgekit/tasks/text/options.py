"""What is asked of language models besides their precision: its values, and which packages it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekit import registry
from edgekit.conversion.request import Job
from edgekit.errors import UsageError
from edgekit.spec import Precision
from edgekit.target import Target

_TABLES = ("w4", "w8", "fp32")
_SMALL = (Precision.W4, Precision.W8, Precision.TERNARY)


@dataclass(frozen=True)
class _Option:
    """`packages`: those it changes, in words, and by their precision. `values`: all there are, if few."""

    packages: str
    precisions: tuple[Precision, ...] = tuple(Precision)
    values: tuple[str, ...] = ()


_OPTIONS = {
    "bits": _Option("w4 packages", (Precision.W4,)),
    "block_size": _Option("w4 and w8 packages", (Precision.W4, Precision.W8)),
    "mode": _Option("ternary packages", (Precision.TERNARY,), ("exact", "fast")),
    "head": _Option("quantised packages for CPUs", _SMALL, _TABLES),
    "embedding": _Option("quantised packages for CPUs", _SMALL, _TABLES),
    "kv_cache": _Option("quantised packages for CPUs", _SMALL, ("fp32", "int8")),
    "prompt_step": _Option("packages of fixed sizes, for Snapdragons and TFLite"),
    "part_bytes": _Option("Snapdragons"),
}


def check_values(extra: Mapping[str, str]) -> None:
    """Raises UsageError for names that are none, and for values that mean nothing."""
    for name, value in extra.items():
        if name not in _OPTIONS:
            raise UsageError(f"{name} is no option of language models", "", f"there are {', '.join(_OPTIONS)}")
        values = _OPTIONS[name].values
        if values and value not in values:
            raise UsageError(f"{_flag(name)} {value} is not known", "", f"use {' or '.join(values)}")
    bits = extra.get("bits")
    try:
        good = bits is None or 4 < float(bits) <= 9
    except ValueError:
        good = False
    if not good:
        raise UsageError(f"--bits {bits} is no size budget", "", "use 4.25 to 9 bits a weight")


def fitting(extra: Mapping[str, str], target: Target, precision: Precision) -> dict[str, str]:
    """The part of `extra` that changes such a package."""
    known = getattr(registry.load("backends", target.backend), "options", ())
    return {k: v for k, v in extra.items() if k in known and precision in _OPTIONS[k].precisions}


def check_used(extra: Mapping[str, str], wanted: Sequence[Job]) -> None:
    """Raises UsageError for what would change none of the packages."""
    used = {k for target, precisions in wanted for p in precisions for k in fitting(extra, target, p)}
    for name in extra:
        if name not in used:
            here = ", ".join(f"{t.name} {p}" for t, precisions in wanted for p in precisions)
            raise UsageError(
                f"{_flag(name)} is for {_OPTIONS[name].packages}",
                f"it changes nothing in {here}",
                "leave it out, or ask for such a package as well",
            )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
