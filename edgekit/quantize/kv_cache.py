"""Scales of an int8 KV cache: one for each channel of the keys and values of a layer, from text.

They are fixed at conversion, and what lies beyond them is clipped. Keys are kept after their rotation by
an angle that grows with the position, slowly in some channels: a short text at the beginning would not
show what these hold later. So each text is read as if it stood elsewhere in the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit.errors import SourceError
from edgekit.progress import Progress
from edgekit.spec import TextSpec

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel
    from transformers.cache_utils import Cache, CacheLayerMixin

_LARGEST = 127
_ROOM = 1.1  # other texts reach further than those seen: of 1 to 1.5 what cost least on two models
_SMALLEST = 1e-6  # of what a channel holds; one that is always 0 has a scale as well


@dataclass(frozen=True)
class CacheScales:
    """float32 (heads · size,) of each layer."""

    keys: list[Tensor]
    values: list[Tensor]


def scales(network: PreTrainedModel, windows: Sequence[Tensor], context: int, progress: Progress) -> CacheScales:
    """`windows`: token ids, int64 (T,) each; `context`: tokens that will be kept.

    Raises SourceError for a network that keeps anything else than keys and values.
    """
    import torch

    keys: list[Tensor] = []
    values: list[Tensor] = []
    with torch.no_grad():
        for done, window in enumerate(windows):
            start = (context - len(window)) * done // max(len(windows) - 1, 1)
            positions = torch.arange(start, start + len(window))
            past = network(window[None], position_ids=positions[None], use_cache=True).past_key_values
            for index, layer in enumerate(_layers(past)):
                _widen(keys, index, layer.keys)
                _widen(values, index, layer.values)
            progress("measuring keys and values", done + 1, len(windows))
    return CacheScales(*([_ROOM * v.clamp_min(_SMALLEST) / _LARGEST for v in x] for x in (keys, values)))


def in_int8(spec: TextSpec) -> TextSpec:
    """The spec of a package with an int8 KV cache. `spec`: of the same package with a float32 cache."""
    return replace(spec, kv_cache="int8", kv_cache_bytes=spec.kv_cache_bytes // 4)


def _layers(past: Cache) -> list[CacheLayerMixin]:
    layers = list(getattr(past, "layers", ()))
    if not layers or any(getattr(x, "keys", None) is None for x in layers):
        raise SourceError(
            "An int8 KV cache is for models that keep keys and values in every layer",
            "this one keeps something else as well",
            "leave --kv-cache out",
        )
    return layers


def _widen(ranges: list[Tensor], index: int, seen: Tensor) -> None:
    """`seen`: (1, heads, T, size)."""
    largest = seen.float().abs().amax((0, 2)).flatten()
    if index == len(ranges):
        ranges.append(largest)
    else:
        ranges[index] = largest.maximum(ranges[index])
