"""Tensors of a checkpoint that the network has no place for. Libraries leave them out with a warning; one that lies
in a part that the network has would have changed what it computes: a layer more, a bias, a norm, an adapter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from edgekit.errors import SourceError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What is computed anew, and scales of a cache in 8 bits, which none of our packages has.
_WITHOUT_EFFECT = ("inv_freq", "k_scale", "v_scale", "q_scale", "kv_scale", "k_zero_point", "v_zero_point")


def check_left(names: Iterable[str], network: PreTrainedModel, model: str) -> None:
    """`names`: the tensors that have no parameter. Raises SourceError for one inside the network; others, of a
    tower of vision or a head for training, stand beside it."""
    prefix = f"{network.base_model_prefix}."
    parts = {n.removeprefix(prefix).partition(".")[0] for n, _ in network.named_modules() if n}
    left = [
        n
        for n in sorted(names)
        if n.removeprefix(prefix).partition(".")[0] in parts and not n.endswith(_WITHOUT_EFFECT)
    ]
    if left:
        raise SourceError(
            f"{model} holds weights that its config.json has no place for",
            f"{len(left)} tensors, the first is {ascii(left[0])[:160]}",
            "check that config.json and the weights belong together",
        )


def check_finite(network: PreTrainedModel, model: str) -> None:
    """Raises SourceError for a weight with infinities or values that are no numbers."""
    for name, parameter in network.named_parameters():
        if parameter.is_floating_point() and not bool(parameter.isfinite().all()):
            raise SourceError(
                f"{model} is damaged",
                f"{name} holds infinities or values that are no numbers",
                "download or copy it again",
            )
