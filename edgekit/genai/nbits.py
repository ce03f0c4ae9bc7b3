"""Packed weights in the form that the model builder of onnxruntime-genai reads."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.layers.packed import Packed, pack_bits


class Nbits:
    """Packed weights side by side as `make_matmul_nbits` takes them."""

    def __init__(self, packed: Sequence[Packed]) -> None:
        import torch

        self.bits, self.group_size = packed[0].bits, packed[0].block
        self.in_features, self.out_features = packed[0].columns, sum(p.rows for p in packed)
        self.qweight = torch.cat([p.weight for p in packed])
        self.scales = torch.cat([p.scales for p in packed])
        self.g_idx = None
        if any(p.zeros is not None for p in packed):
            self.qzeros = torch.cat([pack_bits(p.zero_points(), p.bits) for p in packed])
