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


def nearest(weight: Tensor, bits: int, block: int, symmetric: bool = True) -> Packed:
    """Round (N, K) to the nearest of 2^bits steps; symmetric ones span the value of largest
    magnitude, which is met exactly."""
    x = blocks_of(weight, block)
    scale, zero = _symmetric(x, bits) if symmetric else _asymmetric(x, bits)
    return Packed.of(_integers(x, scale, zero, bits), scale, zero, bits, weight.shape[1])


def searched(
    weight: Tensor, bits: int, block: int, importance: Tensor | None = None, symmetric: bool = True
) -> Packed:  # fmt: skip
    """`importance` (K,): mean square of each input; without it weights count by their own square.

    For each block the scale whose rounding costs least, refined by least squares.
    """
    parts = [
        searched_blocks(blocks_of(w, block), bits, importance, symmetric)
        for w in torch.split(weight, max(1, _TOGETHER // weight.shape[1]))
    ]
    integers, scales, zeros = (torch.cat(p) for p in zip(*parts))
    return Packed.of(integers, scales, zeros, bits, weight.shape[1])


def searched_blocks(
    x: Tensor, bits: int, importance: Tensor | None, symmetric: bool
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Of weights (N, blocks, block): integers uint8 of that shape, scales and zero points (N, blocks)."""
    w = _weights(x, importance)
    start, zero = _symmetric(x, bits) if symmetric else _asymmetric(x, bits)
    wx, best_scale = w * x, start
    best = torch.full_like(start, -torch.inf)
    for step in range(_TRIED):
        scale = start * (_FIRST + (_LAST - _FIRST) * step / (_TRIED - 1))
        q = _integers(x, scale, zero, bits).sub_(zero[..., None])
        along, square = (wx * q).sum(-1), (w * q).mul_(q).sum(-1)
        # with the scale along / square the cost is what all weights cost at 0, less this
        gain = along.square() / square.clamp_min(1e-30)
        better = (gain > best) & (along != 0)
        best = torch.where(better, gain, best)
        best_scale = torch.where(better, along / square.clamp_min(1e-30), best_scale)
    return _integers(x, best_scale, zero, bits).to(torch.uint8), best_scale, zero


def _symmetric(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    middle = 2 ** (bits - 1)
    largest = x.gather(-1, x.abs().argmax(-1, keepdim=True))[..., 0]
    scale = _usable(largest / -middle)  # signed: the extreme value takes the integer that has no mirror
    return scale, torch.full_like(scale, middle)


def _asymmetric(x: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    low, high = x.amin(-1).clamp_max(0), x.amax(-1).clamp_min(0)
    scale = _usable((high - low) / (2**bits - 1))
    return scale, (-low / scale).round().clamp(0, 2**bits - 1)


def _usable(scale: Tensor) -> Tensor:
    """A block of zeros has any scale."""
    return torch.where(scale.abs() < 1e-30, torch.ones_like(scale), scale)


def _integers(x: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    return (x / scale[..., None] + zero[..., None]).round_().clamp_(0, 2**bits - 1)


def _weights(x: Tensor, importance: Tensor | None) -> Tensor:
    if importance is None:
        return x * x
    known = blocks_of(importance[None], x.shape[-1])
    # llama.cpp's blend: an input that is hardly ever large still guards the block's large weights
    return known * (x * x + x.square().mean(-1, keepdim=True)).sqrt()
