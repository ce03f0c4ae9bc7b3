"""Rounding in which later weights make up for the errors of earlier ones: GPTQ (Frantar et al.,
arXiv 2210.17323), with the scales of each block chosen as its turn comes.

Rounding column i by e changes a layer's outputs by e·x_i. Where inputs are correlated, the columns
that are not rounded yet can undo most of it; how is in the inverse of the inputs' second moments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekit.errors import ConversionError
from edgekit.layers.packed import Packed
from edgekit.quantize.rounding import searched_blocks

_DAMPING = 0.01  # of the mean moment, added to all: few texts do not say all about correlations
_TRIED = 4  # times, ten times as much each
_ROWS = 2048  # that are rounded at once: what a processor's cache holds
_MEMORY = 2**31  # bytes of moments that are held at once


def moments(
    network: nn.Module, layers: Mapping[str, nn.Linear], windows: Sequence[Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """For each layer its name and the mean of x·xᵀ over its inputs, float32 (K, K).

    `windows`: token ids, int64 (T,) each. They are read as often as it takes to hold no more than
    `_MEMORY` at once.
    """
    for group in _groups(layers):
        sums = {n: torch.zeros(m.in_features, m.in_features) for n, m in group.items()}
        hooks = [m.register_forward_pre_hook(_adding(sums[n])) for n, m in group.items()]
        try:
            with torch.no_grad():
                for window in windows:
                    network(window[None], use_cache=False)
        finally:
            for hook in hooks:
                hook.remove()
        total = sum(len(w) for w in windows)
        for name in list(sums):
            yield name, sums.pop(name).div_(total)


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


def _adding(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().float().flatten(0, -2)
        total.addmm_(x.T, x)

    return hook


def _lower(moments: Tensor) -> Tensor:
    """The triangular factor of the damped moments in reverse order. Where few inputs are far larger than
    all others, float32 needs more damping. Raises ConversionError for moments that are no numbers."""
    damping = _DAMPING * moments.diagonal().mean().clamp_min(1e-20)
    for _ in range(_TRIED):
        damped = moments.clone()
        damped.diagonal().add_(damping)
        lower, failed = torch.linalg.cholesky_ex(damped.flip(0, 1))
        if not failed and lower.isfinite().all():
            return lower
        damping = damping * 10
    raise ConversionError(
        "The inputs of a layer cannot be weighed: they are no finite numbers",
        "the network overflows on the text that is decided on",
        "pass other text with --calibration, or use -p w8",
    )


class Compensation:
    """What rounding a layer's column does to the best values of later columns; `moments` (K, K)."""

    def __init__(self, moments: Tensor) -> None:
        self.importance = moments.diagonal().clone()
        # moments = R·Rᵀ with R upper triangular; U = R⁻¹ is the factor of the inverse: UᵀU
        lower = _lower(moments)
        eye = torch.eye(len(lower), dtype=lower.dtype)
        self._factor = torch.linalg.solve_triangular(lower, eye, upper=False).flip(0, 1)

    def round(self, weight: Tensor, bits: int, block: int) -> Packed:
        """Round (N, K) float32."""
        rows = [self._rows(w, bits, block) for w in torch.split(weight, _ROWS)]
        integers, scales = (torch.cat(r) for r in zip(*rows))
        return Packed.of(integers, scales, None, bits, weight.shape[1])

    def _rows(self, weight: Tensor, bits: int, block: int) -> tuple[Tensor, Tensor]:
        """Integers (N, blocks, block) and scales (N, blocks)."""
        columns = weight.shape[1]
        short = -columns % block
        # a column of weights is a row here
        left = nn.functional.pad(weight, (0, short)).T.contiguous()
        importance = nn.functional.pad(self.importance, (0, short))
        factor = nn.functional.pad(self._factor, (0, short, 0, short))
        factor.diagonal()[columns:] = 1.0
        parts = []
        for start in range(0, columns, block):
            now, at = left[start : start + block], slice(start, start + block)
            _, scales = searched_blocks(now.T.contiguous()[:, None], bits, importance[at])
            integers = self._block(now, factor[at, at], scales[:, 0], bits)
            # `now` holds the errors, each by what it weighs in the columns to come
            left[at.stop :].addmm_(factor[at, at.stop :].T, now, alpha=-1)
            parts.append((integers, scales[:, 0]))
        return tuple(torch.stack(p, 1) for p in zip(*parts))  # type: ignore[return-value]

    def _block(self, now: Tensor, factor: Tensor, scale: Tensor, bits: int) -> Tensor:
        """Integers (N, block) of the columns `now` (block, N), which become their errors."""
        integers = torch.empty(now.shape[::-1], dtype=torch.uint8)
        middle = 2 ** (bits - 1)
        for i, row in enumerate(factor):
            q = (now[i] / scale + middle).round_().clamp_(0, 2**bits - 1)
            integers[:, i] = q
            now[i] = (now[i] - (q - middle) * scale) / row[i]
            now[i + 1 :].addr_(row[i + 1 :], now[i], alpha=-1)
        return integers
