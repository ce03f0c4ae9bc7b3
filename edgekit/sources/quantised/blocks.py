"""Floats of 8 bits with a scale for each block of outputs and inputs, as DeepSeek and Qwen publish them.

weight float8_e4m3fn (N, K)   weight_scale_inv (⌈N/rows⌉, ⌈K/columns⌉), by which it is multiplied

AutoFP8 names the same method, and stores one number a layer as weight_scale.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.sources.quantised.layer import FLOATS, Floats, Parts
from edgekit.sources.quantised.stated import Stated

WHY = "floats of 8 bits have no even steps"
_SCALE, _OLDER = "weight_scale_inv", "weight_scale"


def check(stated: Stated) -> None:
    if str(stated.settings.get("fmt") or stated.settings.get("weight_format") or "e4m3") not in (
        "e4m3",
        "float8_e4m3fn",
    ):
        raise stated.unread(f"floats of the form {ascii(stated.settings.get('fmt'))[:20]}")


def read(stated: Stated, parts: Parts) -> Floats | None:
    parts.drop("input_scale", "output_scale", "activation_scale", "k_scale", "v_scale")
    scale = _SCALE if parts.has(_SCALE) else _OLDER
    if not parts.has(scale):
        return None
    weight = parts.take("weight", (parts.rows, parts.columns), (torch.float8_e4m3fn,)).float()
    layout = parts.look(scale)
    if layout.numel() == 1:
        return Floats(weight * parts.take(scale, tuple(layout.shape), FLOATS).float().reshape(1, 1), WHY)
    if scale == _OLDER:
        raise parts.misfit(_OLDER, "one scale for the layer")
    size = size_of([stated.settings.get("weight_block_size")], parts, _SCALE)
    return Floats(weight * spread(parts.take(_SCALE, None, FLOATS), size, weight.shape), WHY)


def size_of(stated: list[object], parts: Parts, part: str) -> tuple[int, int]:
    """Rows and columns of a block, by the config. Raises SourceError where the scales are of another number."""
    named = {
        (min(b[0], parts.rows), min(b[1], parts.columns))
        for b in stated
        if isinstance(b, (list, tuple)) and len(b) == 2 and all(type(v) is int and v > 0 for v in b)
    }
    shapes = {b: (-(-parts.rows // b[0]), -(-parts.columns // b[1])) for b in named}
    fitting = [b for b in sorted(named) if shapes[b] == tuple(parts.look(part).shape)]
    if len(fitting) != 1:
        expected = " or ".join(str(s) for s in sorted(shapes.values()))
        raise parts.misfit(part, f"a scale for each block, {expected or 'whose size is not stated'},")
    return fitting[0]


def spread(scale: Tensor, size: tuple[int, int], shape: torch.Size) -> Tensor:
    """float32 of `shape`: each element's own scale."""
    tall = scale.float().repeat_interleave(size[0], 0)[: shape[0]]
    return tall.repeat_interleave(size[1], 1)[:, : shape[1]]
