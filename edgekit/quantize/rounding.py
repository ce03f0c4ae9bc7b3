"""Weights rounded to 4 or 8 bits, block by block, without data or with how large inputs are.

`nearest` is plain rounding; `searched` tries scales around it and keeps, for each block, what costs
least when weight k is weighted by the mean square of input k: the objective of llama.cpp's k-quants
with an importance matrix and, up to the off-diagonal terms, of GPTQ (arXiv 2210.17323).
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.layers.packed import Packed, blocks_of

_TRIED, _FIRST, _LAST = 11, 0.72, 1.32  # scales a block, times the plain one
_TOGETHER = 2**18  # weights that are searched at once: what a processor's cache holds


def nearest(weight: Tensor, bits: int, block: int) -> Packed:
    """Round (N, K) to the nearest of 2^bits steps that span the value of largest magnitude, which is met
    exactly."""
    x = blocks_of(weight, block)
    scale = _spanning(x, bits)
    return Packed.of(_integers(x, scale, bits), scale, None, bits, weight.shape[1])


def searched(weight: Tensor, bits: int, block: int, importance: Tensor | None = None) -> Packed:
    """`importance` (K,): mean square of each input; without it weights count by their own square.

    For each block the scale whose rounding costs least, refined by least squares.
    """
    parts = [
        searched_blocks(blocks_of(w, block), bits, importance)
        for w in torch.split(weight, max(1, _TOGETHER // weight.shape[1]))
    ]
    integers, scales = (torch.cat(p) for p in zip(*parts))
    return Packed.of(integers, scales, None, bits, weight.shape[1])


def searched_blocks(x: Tensor, bits: int, importance: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rounds weights float32 (N, blocks, block); returns integers uint8 of that shape and scales float32 (N, blocks)."""
    w = _weights(x, importance)
    start, middle = _spanning(x, bits), 2 ** (bits - 1)
    wx, best_scale = w * x, start
    best = torch.full_like(start, -torch.inf)
    q, product = torch.empty_like(x), torch.empty_like(x)  # memory is half of what this takes
    for step in range(_TRIED):
        steps = 1 / (start * (_FIRST + (_LAST - _FIRST) * step / (_TRIED - 1)))
        torch.mul(x, steps[..., None], out=q).round_().clamp_(-middle, middle - 1)
        along = torch.mul(wx, q, out=product).sum(-1)
        square = torch.mul(w, q, out=product).mul_(q).sum(-1).clamp_min_(1e-30)
        # with the scale along / square the cost is what all weights cost at 0, less this
        gain = along.square() / square
        better = (gain > best) & (along != 0)
        best = torch.where(better, gain, best)
        best_scale = torch.where(better, along / square, best_scale)
    return _integers(x, best_scale, bits).to(torch.uint8), best_scale


def _spanning(x: Tensor, bits: int) -> Tensor:
    """Signed: the value of largest magnitude takes the integer that has no mirror. Zeros have any scale."""
    largest = x.gather(-1, x.abs().argmax(-1, keepdim=True))[..., 0]
    scale = largest / -(2 ** (bits - 1))
    return torch.where(scale.abs() < 1e-30, torch.ones_like(scale), scale)


def _integers(x: Tensor, scale: Tensor, bits: int) -> Tensor:
    return (x / scale[..., None] + 2 ** (bits - 1)).round_().clamp_(0, 2**bits - 1)


def _weights(x: Tensor, importance: Tensor | None) -> Tensor:
    if importance is None:
        return x * x
    known = blocks_of(importance[None], x.shape[-1])
    # llama.cpp's blend: an input that is hardly ever large still guards the block's large weights
    return known * (x * x + x.square().mean(-1, keepdim=True)).sqrt()
