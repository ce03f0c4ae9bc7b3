"""Linear layers of BitNet b1.58: weights of -1, 0 and 1 with one scale, inputs of 8 bits a token.

    q = round(x · 127 / max|x|);  y = (Σ q · w) · scale · max|x| / 127

The sum is of integers: below 2^24, so float32 holds it exactly. Ma et al., arXiv 2402.17764; the
formulae are those of transformers' AutoBitLinear.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgekit.layers.packed import Packed

SMALLEST = 1e-5  # a token whose largest input is smaller is divided by this


class TernaryLinear(nn.Module):
    """`weight` int8 (N, K) of -1, 0, 1; `scale` float32; `norm`: applied to the input first, or None."""

    def __init__(self, weight: Tensor, scale: float, bias: Tensor | None = None, norm: Any = None) -> None:
        super().__init__()
        self.ternary, self.scale, self.bias = weight, scale, bias
        self.norm: Any = norm
        self.out_features, self.in_features = weight.shape

    @property
    def weight(self) -> Tensor:
        """float32, as a float layer would hold it."""
        return self.ternary.float() * self.scale

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() if self.norm is None else self.norm(x.float())
        largest = x.abs().amax(-1, keepdim=True).clamp(min=SMALLEST)
        q = (x * (127 / largest)).round()
        y = nn.functional.linear(q, self.ternary.float()) * (largest / 127 * self.scale)
        return y if self.bias is None else y + self.bias


def ternarised(weight: Tensor) -> tuple[Tensor, float]:
    """Master weights as BitNet rounds them: by the mean of their magnitude. int8 (N, K), scale."""
    mean = weight.float().abs().mean().clamp(min=SMALLEST)
    return (weight.float() / mean).round().clamp(-1, 1).to(torch.int8), float(mean)


def unpacked(stored: Tensor) -> Tensor:
    """int8 (N, K) from uint8 (N/4, K): row i·N/4 + r in bits 2i of row r, each plus one."""
    parts = [(stored >> shift) & 3 for shift in (0, 2, 4, 6)]
    return torch.cat(parts).to(torch.int8) - 1


def packed(layer: TernaryLinear, block: int) -> Packed:
    """As 2-bit MatMulNBits with the scale in each block: exact weights, for float inputs."""
    columns = layer.in_features
    short = -columns % block
    w = nn.functional.pad(layer.ternary, (0, short)).reshape(layer.out_features, -1, block) + 2
    scales = torch.full(w.shape[:2], layer.scale)
    return Packed.of(w, scales, None, 2, columns, exact=True)


def guarded(layer: TernaryLinear, block: int) -> Packed:
    """As 2-bit MatMulNBits with scales of 1 and, at the end of each block, a weight of 0 for an input
    that is always 127: the kernel, which scales inputs to 8 bits by the largest of a block, then finds
    that they are integers already and computes with them as they are."""
    own = block - 1
    short = -layer.in_features % own
    w = nn.functional.pad(layer.ternary, (0, short)).reshape(layer.out_features, -1, own)
    w = nn.functional.pad(w, (0, 1)) + 2
    return Packed.of(w, torch.ones(w.shape[:2]), None, 2, w.shape[1] * block, exact=True)
