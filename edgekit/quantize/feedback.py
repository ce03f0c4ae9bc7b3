"""Rounding in which later weights make up for the errors of earlier ones: GPTQ (Frantar et al.,
arXiv 2210.17323), with the scales of each block chosen as its turn comes.

Rounding column i by e changes a layer's outputs by e·x_i. Where inputs are correlated, the columns
that are not rounded yet can undo most of it; how is in the inverse of the inputs' second moments.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekit.layers.packed import Packed
from edgekit.quantize.rounding import searched

_DAMPING = 0.01  # of the mean moment, added to all: few texts do not say all about correlations
_MEMORY = 2**31  # bytes of moments that are held at once


def moments(
    network: nn.Module, layers: Mapping[str, nn.Linear], windows: Sequence[Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """For each layer its name and the mean of x·xᵀ over its inputs, float32 (K, K).

    `windows`: token ids, int64 (T,) each. They are read as often as it takes to hold no more than
    `_MEMORY` at once.
    """
    for group in _groups(layers):
        found = {n: torch.zeros(m.in_features, m.in_features) for n, m in group.items()}
        hooks = [m.register_forward_pre_hook(_adding(found[n])) for n, m in group.items()]
        try:
            with torch.no_grad():
                for window in windows:
                    network(window[None], use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        total = sum(len(w) for w in windows)
        for name in list(found):
            yield name, found.pop(name).div_(total)


def _groups(layers: Mapping[str, nn.Linear]) -> Iterator[dict[str, nn.Linear]]:
    group: dict[str, nn.Linear] = {}
    held = 0
    for name, layer in layers.items():
        size = 4 * layer.in_features**2
        if group and held + size > _MEMORY:
            yield group
            group, held = {}, 0
        group[name] = layer
        held += size
    yield group


def _adding(total: Tensor):  # type: ignore[no-untyped-def]
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().float().flatten(0, -2)
        total.addmm_(x.T, x)

    return hook


class Compensation:
    """What rounding a layer's column does to the best values of later columns; `moments` (K, K)."""

    def __init__(self, moments: Tensor) -> None:
        self.importance = moments.diagonal().clone()
        damped = moments.clone()
        damped.diagonal().add_(_DAMPING * self.importance.mean().clamp_min(1e-20))
        # moments = R·Rᵀ with R upper triangular; U = R⁻¹ is the factor of the inverse: UᵀU
        lower = torch.linalg.cholesky(damped.flip(0, 1))
        eye = torch.eye(len(lower), dtype=lower.dtype)
        self._factor = torch.linalg.solve_triangular(lower, eye, upper=False).flip(0, 1)

    def round(self, weight: Tensor, bits: int, block: int, symmetric: bool = True) -> Packed:
        """Round (N, K) float32."""
        columns = weight.shape[1]
        short = -columns % block
        left = nn.functional.pad(weight, (0, short))
        importance = nn.functional.pad(self.importance, (0, short))
        factor = nn.functional.pad(self._factor, (0, short, 0, short))
        factor.diagonal()[columns:] = 1.0
        parts = [
            self._block(left, importance, factor, slice(s, s + block), bits, symmetric)
            for s in range(0, columns, block)
        ]
        integers, scales, zeros = (torch.stack(p, 1) for p in zip(*parts))
        return Packed.of(integers, scales, None if symmetric else zeros, bits, columns)

    def _block(
        self, left: Tensor, importance: Tensor, factor: Tensor, at: slice, bits: int, symmetric: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Round the columns `at` of `left`, and let those after it make up for the errors."""
        now, size = left[:, at].clone(), at.stop - at.start
        chosen = searched(now, bits, size, importance[at], symmetric)
        scale, zero = chosen.scales[:, 0], chosen.zero_points()[:, 0].float()
        integers, errors = torch.empty_like(now), torch.empty_like(now)
        for i in range(size):
            row = factor[at.start + i, at]
            integers[:, i] = (now[:, i] / scale + zero).round().clamp(0, 2**bits - 1)
            errors[:, i] = (now[:, i] - (integers[:, i] - zero) * scale) / row[i]
            now[:, i + 1 :] -= errors[:, i, None] * row[i + 1 :]
        left[:, at.stop :] -= errors @ factor[at, at.stop :]
        return integers, scale, zero
