"""AWQ in the layout of AutoAWQ's gemm kernel: integers of 4 bits packed along the outputs, eight a word.

qweight int32 (K, N/8)   qzeros int32 (groups, N/8)   scales (groups, N)
"""

from __future__ import annotations

from torch import Tensor

from edgekit.sources.quantised.layer import FLOATS, Integers, Parts, unpacked
from edgekit.sources.quantised.stated import Stated

_BITS = 4
_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]  # the nibble that holds each of eight outputs


def check(stated: Stated) -> None:
    settings = stated.settings
    bits = settings.get("bits") or settings.get("w_bit")
    if bits != _BITS:
        raise stated.unread(f"{ascii(bits)[:20]} bits")
    layout = str(settings.get("version") or settings.get("format") or "gemm").lower()
    if layout != "gemm":
        raise stated.unread(f"version {ascii(layout)[:40]}")


def read(stated: Stated, parts: Parts) -> Integers | None:
    if not parts.has("qweight"):
        return None
    if parts.rows % 8:
        raise parts.misfit("qweight", "a multiple of 8 outputs")
    scales = parts.look("scales")
    groups = scales.shape[0] if scales.dim() == 2 else 0
    qweight = parts.take("qweight", (parts.columns, parts.rows // 8))
    qzeros = parts.take("qzeros", (groups, parts.rows // 8))
    scales = parts.take("scales", (max(groups, 1), parts.rows), FLOATS).float().T
    settings = stated.settings
    size = next((settings[k] for k in ("group_size", "q_group_size") if type(settings.get(k)) is int), 128)
    group, order = parts.order("g_idx", groups, [size])
    return Integers(_columns(qweight).T, scales, _columns(qzeros).int().T, _BITS, group, order)


def _columns(words: Tensor) -> Tensor:
    """(…, N) from words of eight interleaved values."""
    values = unpacked(words, _BITS, words.shape[-1] * 8)
    return values.reshape(len(words), -1, 8)[..., _ORDER].flatten(1)
