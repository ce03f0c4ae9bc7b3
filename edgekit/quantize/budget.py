"""What a budget of bytes buys: which layers of a language model become 8 bits where the others are 4."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgekit.layers.packed import Packed

_TOGETHER = ("q_proj", "k_proj", "v_proj")  # one layer in the package, so of one kind


@dataclass
class Rounded:
    """`cost`: estimated KL divergence it causes, nats a token."""

    packed: Packed
    cost: float


def spend(
    four: dict[str, Rounded], eight: dict[str, Rounded], budget: float, fixed: Mapping[str, int]
) -> dict[str, Packed]:
    """8 bits where they buy most for a byte, within the budget, and what is `fixed`."""
    free = {n: r.packed for n, r in four.items() if n not in fixed}
    left = budget * sum(p.rows * p.columns for p in free.values()) / 8 - sum(p.bytes for p in free.values())
    offers = []
    for unit in _units(free):
        gain = sum(four[n].cost - eight[n].cost for n in unit)
        price = sum(eight[n].packed.bytes - four[n].packed.bytes for n in unit)
        offers.append((gain / max(price, 1), price, unit))
    mixed = {n: (eight if fixed.get(n) == 8 else four)[n].packed for n in four}
    for _, price, unit in sorted(offers, key=lambda o: -o[0]):
        if price <= left:
            left -= price
            mixed.update({n: eight[n].packed for n in unit})
    return mixed


def _units(names: Iterable[str]) -> list[list[str]]:
    units: dict[str, list[str]] = {}
    for name in names:
        parent, _, own = name.rpartition(".")
        units.setdefault(f"{parent}.qkv" if own in _TOGETHER else name, []).append(name)
    return list(units.values())


def bits_of(packed: Iterable[Packed]) -> float:
    """Bits a weight, with what the scales take."""
    every = list(packed)
    return 8 * sum(p.bytes for p in every) / max(sum(p.rows * p.columns for p in every), 1)
