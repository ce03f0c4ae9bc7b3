"""GPTQ, as AutoGPTQ and GPTQModel store it: rows of integers packed along the inputs.

    qweight int32 (K·bits/32, N)   qzeros int32 (groups, N·bits/32)   scales (groups, N)   g_idx (K,)

The first format (`gptq`) stores each zero point less one, the second (`gptq_v2`) as it is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.sources.quantised.layer import FLOATS, Integers, Parts, unpacked, word_count
from edgekit.sources.quantised.stated import Stated
from edgekit.system.documents import JsonObject

_WIDTHS = (2, 3, 4, 8)
_FORMATS = ("gptq", "gptq_v2")


def check(stated: Stated) -> None:
    """Raises SourceError for a format of a kernel, which orders its tensors in another way."""
    if _format(stated.settings) not in _FORMATS:
        raise stated.unread(f"format {ascii(_format(stated.settings))[:40]}")
    if stated.settings.get("is_marlin_format"):  # as AutoGPTQ said it before it named formats
        raise stated.unread("in the layout of the Marlin kernel (is_marlin_format)")
    if not widths(stated) & set(_WIDTHS):
        raise stated.unread(f"{', '.join(map(str, sorted(widths(stated)))) or 'an unknown number of'} bits")


def widths(stated: Stated) -> set[int]:
    """All widths in the config, for whichever layers."""
    return _named(stated, "bits")


def read(stated: Stated, parts: Parts) -> Integers | None:
    if not parts.has("qweight"):
        return None
    bits = _width(stated, parts)
    groups = parts.look("scales").shape[0] if parts.look("scales").dim() == 2 else 0
    words = word_count(parts.rows, bits)
    qweight = parts.take("qweight", (word_count(parts.columns, bits), parts.rows))
    scales = parts.take("scales", (max(groups, 1), parts.rows), FLOATS).float().T
    zeros = _zeros(stated, parts.take("qzeros", (groups, words)), bits, parts.rows)
    sizes = sorted(_named(stated, "group_size"), key=lambda s: s != stated.settings.get("group_size"))
    group, order = parts.order("g_idx", groups, sizes, stated.settings.get("desc_act") is True)
    return Integers(unpacked(qweight.T, bits, parts.columns), scales, zeros.T, bits, group, order)


def _width(stated: Stated, parts: Parts) -> int:
    """The width that the rows of qweight imply. Raises SourceError where the config names other widths only."""
    qweight = parts.look("qweight")
    rows = qweight.shape[0] if qweight.dim() == 2 else 0
    bits = rows * 32 // parts.columns
    if bits not in _WIDTHS or bits * parts.columns != rows * 32 or qweight.dtype != torch.int32:
        fitting = " or ".join(
            str((word_count(parts.columns, b), parts.rows)) for b in sorted(widths(stated) & set(_WIDTHS))
        )
        raise parts.misfit("qweight", f"int32 of {fitting}")
    if bits not in widths(stated):
        stated_widths = ", ".join(map(str, sorted(widths(stated))))
        raise stated.unread(f"its config says {stated_widths} bits, and {parts.name}.qweight holds {bits}")
    return bits


def _zeros(stated: Stated, words: Tensor, bits: int, rows: int) -> Tensor:
    """int32 (groups, N)."""
    settings, middle = stated.settings, 2 ** (bits - 1)
    stored = unpacked(words, bits, rows).int()
    older = _format(settings) == "gptq"
    if settings.get("sym") is True and bool((stored == stored.flatten()[0]).all()):
        value = int(stored.flatten()[0])  # the middle, by what `sym` means: this tells the format for certain
        older = value == middle - 1 if value in (middle - 1, middle) else older
    if not older:
        return stored
    if _by_words(settings) and 32 % bits == 0:
        ones = sum(1 << i for i in range(0, 32, bits))  # taken from whole words, and so borrowed across values
        whole = ((words.long() & 0xFFFFFFFF) + ones) & 0xFFFFFFFF
        signed = torch.where(whole >= 2**31, whole - 2**32, whole).int()
        return unpacked(signed, bits, rows).int()
    return (stored + 1) % 2**bits


def _by_words(settings: JsonObject) -> bool:
    """Whether GPTQModel wrote the checkpoint. It subtracts one from zero points after packing them, AutoGPTQ
    before: a zero point of 0 gives different words."""
    meta = settings.get("meta")
    return "gptqmodel" in str(meta.get("quantizer")).lower() if isinstance(meta, dict) else False


def _format(settings: JsonObject) -> str:
    return str(settings.get("checkpoint_format") or settings.get("format") or "gptq").lower()


def _named(stated: Stated, key: str) -> set[int]:
    """The values of a setting, for all layers and for some (`dynamic`)."""
    rules = stated.settings.get("dynamic")
    places = [stated.settings, *(r for r in (rules.values() if isinstance(rules, dict) else ()) if isinstance(r, dict))]
    return {p[key] for p in places if type(p.get(key)) is int}
