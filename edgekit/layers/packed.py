"""Linear layers whose weights are small integers, in the layout of ONNX Runtime's MatMulNBits.

    weight[n, k] = (integer[n, k] - zero[n, k // block]) * scale[n, k // block]

Integers of 2, 4 or 8 bits, the first of a byte in its lowest bits; rows are padded to whole blocks.
A zero point that is not stored is 2^(bits - 1). Specification: MatMulNBits in onnxruntime's
ContribOperators.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Packed:
    """`weight` uint8 (N, blocks, block·bits/8), `scales` float32 (N, blocks), `zeros` uint8
    (N, ⌈blocks·bits/8⌉) or None; `columns` is K before padding. `exact`: the source's own integers.
    """

    weight: Tensor
    scales: Tensor
    zeros: Tensor | None
    bits: int
    block: int
    columns: int
    exact: bool = False

    @classmethod
    def of(
        cls, integers: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, columns: int, exact: bool = False
    ) -> Packed:
        """From integers (N, blocks, block), scales (N, blocks) and zero points (N, blocks)."""
        default = 2 ** (bits - 1)
        if zeros is not None and bool((zeros == default).all()):
            zeros = None
        stored = None if zeros is None else pack_bits(zeros.to(torch.uint8), bits)
        weight = pack_bits(integers.to(torch.uint8), bits)
        return cls(weight, scales.float(), stored, bits, integers.shape[-1], columns, exact)

    @property
    def rows(self) -> int:
        return self.weight.shape[0]

    @property
    def bytes(self) -> int:
        """The size of the weights in a package."""
        parts = (self.weight, self.scales, *(() if self.zeros is None else (self.zeros,)))
        return sum(p.numel() * p.element_size() for p in parts)

    def part(self, rows: slice) -> Packed:
        """The layer's weights for some of the rows."""
        zeros = None if self.zeros is None else self.zeros[rows]
        return replace(self, weight=self.weight[rows], scales=self.scales[rows], zeros=zeros)

    def integers(self) -> Tensor:
        """uint8 (N, blocks, block)."""
        return unpack_bits(self.weight, self.bits, self.block)

    def zero_points(self) -> Tensor:
        """uint8 (N, blocks)."""
        blocks = self.scales.shape[1]
        if self.zeros is None:
            return torch.full((self.rows, blocks), 2 ** (self.bits - 1), dtype=torch.uint8)
        return unpack_bits(self.zeros, self.bits, blocks)

    def dequantised(self) -> Tensor:
        """float32 (N, K)."""
        centred = self.integers().float() - self.zero_points().float()[..., None]
        return (centred * self.scales[..., None]).flatten(1)[:, : self.columns].contiguous()


def pack_bits(values: Tensor, bits: int) -> Tensor:
    """uint8 values below 2^bits along the last axis into bytes, the first lowest; padded with 0."""
    each = 8 // bits
    if each == 1:
        return values.contiguous()
    short = -values.shape[-1] % each
    padded = nn.functional.pad(values, (0, short)).reshape(*values.shape[:-1], -1, each)
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    return (padded << shifts).sum(-1, dtype=torch.uint8)


def unpack_bits(stored: Tensor, bits: int, count: int) -> Tensor:
    """The `count` values that `pack_bits` put along the last axis."""
    if bits == 8:
        return stored
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
    return ((stored[..., None] >> shifts) & (2**bits - 1)).flatten(-2)[..., :count]


class PackedLinear(nn.Module):
    """Stands in a network where a `nn.Linear` was; computes with the dequantised weight."""

    def __init__(self, packed: Packed, bias: Tensor | None = None) -> None:
        super().__init__()
        self.packed, self.bias = packed, bias
        self.in_features, self.out_features = packed.columns, packed.rows

    @property
    def weight(self) -> Tensor:
        return self.packed.dequantised()

    def part(self, rows: slice) -> PackedLinear:
        """A layer with some of the outputs."""
        return PackedLinear(self.packed.part(rows), None if self.bias is None else self.bias[rows])

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.weight.to(x.dtype), self.bias)


def blocks_of(weight: Tensor, block: int) -> Tensor:
    """float32 (N, blocks, block), rows padded with zeros to whole blocks."""
    short = -weight.shape[1] % block
    return nn.functional.pad(weight.float(), (0, short)).reshape(len(weight), -1, block)
