"""How the network in memory rotates queries and keys by their positions.

The builder computes cosines and sines from the config, and knows some of the ways to stretch positions
for some families; it leaves the others out without a word. transformers has read the config already:
whatever the way, what comes out is a frequency for each pair of channels, and a factor.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builders.base import Model
    from torch import Tensor
    from transformers import PreTrainedModel


def frequencies(network: PreTrainedModel, kind: str = "full_attention") -> tuple[Tensor, float]:
    """(float32 (R/2,) in radians a position, factor of cosines and sines); R: channels of a head that are
    rotated. `kind`: of layers, where not all rotate alike. Those of the first positions: a way that
    depends on the length of a text begins to change only beyond what a package may keep.
    """
    stored = "original_inv_freq"
    rotary = network.base_model.rotary_emb
    prefix = f"{kind}_" if hasattr(rotary, f"{kind}_{stored}") else ""
    if not prefix and not hasattr(rotary, stored):  # of several kinds, and this one is not among them
        prefix = next(n for n, _ in rotary.named_buffers() if n.endswith(stored)).removesuffix(stored)
    scaling = float(getattr(rotary, f"{prefix}attention_scaling"))
    return getattr(rotary, prefix + stored).detach().float(), scaling


def tables(network: PreTrainedModel, context: int, kind: str = "full_attention") -> tuple[Tensor, Tensor]:
    """Cosines and sines, float32 (context, R/2) each."""
    import torch

    rates, factor = frequencies(network, kind)
    angles = torch.outer(torch.arange(context, dtype=torch.float32), rates)
    return angles.cos() * factor, angles.sin() * factor


def replace_tables(builder: ModuleType, network: PreTrainedModel, context: int) -> None:
    """Makes each of the builder's classes take `tables` in place of its own, which cover the whole length that
    the model was trained for."""

    def caches(self: Model) -> tuple[Tensor, Tensor]:
        # Gemma 3 asks twice, and has the second name by then
        local = hasattr(self, "cos_cache_local_name")
        return tables(network, context, "sliding_attention" if local else "full_attention")

    for model in models(builder):
        if "make_rotary_embedding_caches_from_scratch" in vars(model):
            model.make_rotary_embedding_caches_from_scratch = caches


def models(builder: ModuleType) -> list[type[Model]]:
    """The builder's classes, one a family, and their base."""
    return [c for c in vars(builder).values() if isinstance(c, type) and issubclass(c, builder.Model)]
