"""The two tables that are as long as the vocabulary: the embedding, which is looked up, and the head, which
multiplies. In a small model they are most of the bytes.

Each may be of its own kind, `w4`, `w8` or `fp32`. Where the model ties them, one table serves both as long
as both are of one kind; else each is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from edgekit.layers.packed import Packed


KINDS = {"w4": 4, "w8": 8, "fp32": 32}
_BITS, _BLOCK = 8, 32  # of an embedding that has no head to be tied to


def head_bits(network: PreTrainedModel, head_kind: str, embedding_kind: str) -> dict[str, int]:
    """Bits of the head, by the name of its layer, where a kind was given. Raises UsageError where the source decided."""
    from edgekit.layers.packed import PackedLinear

    head, table = network.get_output_embeddings(), network.get_input_embeddings()
    for name, kind, stored in (
        ("head", head_kind, isinstance(head, PackedLinear)),
        ("embedding", embedding_kind, hasattr(table, "packed")),
    ):
        if kind and stored:
            raise UsageError(
                f"The {name} of this model is quantised already",
                "the integers of its source are kept",
                f"leave --{name} out, or convert the float original",
            )
    if not head_kind:
        return {}
    return {name: KINDS[head_kind] for name, m in network.named_modules() if m is head}


def settle_embedding(network: PreTrainedModel, kind: str, tied: bool) -> dict[str, str]:
    """Round the embedding, once the head is what it will be; returns what a receipt says of both.

    `kind`: a kind, or "": as the head where the model ties them, `w8` elsewhere.
    """
    from edgekit.quantize.rounding import nearest, searched

    head, table = network.get_output_embeddings(), network.get_input_embeddings()
    packed = getattr(head, "packed", None)
    own = getattr(table, "packed", None)  # the source's, or the tied head's
    bits = KINDS.get(kind) or (own.bits if own is not None else 32 if tied else _BITS)
    if own is not None and own.bits != bits:
        own = None
    if own is None and bits < 32:
        rounding = searched if bits < 8 else nearest
        own = rounding(table.weight.detach().float(), bits, _BLOCK)
    if own is not None:
        table.packed = own
    elif hasattr(table, "packed"):
        del table.packed
    once = own is packed if own is not None else tied and packed is None
    return {"head": _kind(packed), "embedding": _kind(own) + (", the head's" if once else "")}


def _kind(packed: Packed | None) -> str:
    return "fp32" if packed is None else f"w{packed.bits}"
