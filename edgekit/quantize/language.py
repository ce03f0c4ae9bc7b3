"""Which linear layers of a language model become 4 and which 8 bits, and in what blocks.

One forward and one backward pass give, for each layer, how large its inputs are and how much the
predictions depend on its outputs (the diagonal of the Fisher information). With both, half of
Σ F·E[Δy²] estimates the KL divergence that rounding a layer causes; layers become 8 bits where that
buys most for a byte, until the size budget is used. The block sizes are then compared by the KL
divergence that is measured, and the best is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.errors import UsageError
from edgekit.layers.packed import Packed, PackedLinear
from edgekit.progress import Progress
from edgekit.quantize.rounding import searched

BUDGET = 4.85  # bits a weight, scales included: what llama.cpp's Q4_K_M takes
_BLOCKS = (32, 64, 128)
_TOGETHER = ("q_proj", "k_proj", "v_proj")  # one layer in the package, so of one kind


@dataclass
class Sensitivity:
    """`inputs` (K,): mean square of each. `outputs` (N,): mean square of the gradient at each."""

    inputs: Tensor
    outputs: Tensor


@dataclass
class Choice:
    """Packed layers by module name, and how they were chosen."""

    packed: dict[str, Packed]
    settings: dict[str, Any]
    search: list[dict[str, Any]] = field(default_factory=list)


def linears(network: nn.Module) -> dict[str, nn.Linear]:
    """The layers that can be packed, in order; those already packed are left out."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear)}


def sensitivities(
    network: nn.Module, windows: Sequence[Tensor], progress: Progress
) -> dict[str, Sensitivity]:
    """`windows`: token ids, int64 (T,) each; next tokens are drawn from the network itself."""
    layers = linears(network)
    found = {
        n: Sensitivity(torch.zeros(m.in_features), torch.zeros(m.out_features))
        for n, m in layers.items()
    }
    hooks = [h for n, m in layers.items() for h in _watch(m, found[n])]
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.requires_grad_(False)
    try:
        for i, window in enumerate(windows):
            embedded = network.get_input_embeddings()(window[None]).requires_grad_(True)  # type: ignore[operator]
            logits = network(inputs_embeds=embedded, use_cache=False).logits[0].float()
            with torch.no_grad():
                drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
            nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()  # type: ignore[no-untyped-call]
            progress("weighing the layers", i + 1, len(windows))
    finally:
        for hook in hooks:
            hook.remove()
    total = sum(len(w) for w in windows)
    for s in found.values():
        s.inputs /= total
        s.outputs /= total
    return found


def _watch(layer: nn.Linear, seen: Sensitivity) -> list[Any]:
    def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.inputs += inputs[0].detach().float().flatten(0, -2).square().sum(0)
        output.register_hook(backward)  # type: ignore[no-untyped-call]

    def backward(gradient: Tensor) -> None:
        seen.outputs += gradient.detach().float().flatten(0, -2).square().sum(0)

    return [layer.register_forward_hook(forward)]


def choose(
    network: nn.Module, windows: Sequence[Tensor], progress: Progress, budget: float = BUDGET,
    blocks: Sequence[int] = (), fixed: Mapping[str, int] = {},
) -> Choice:  # fmt: skip
    """Round every linear layer of a float32 network to 4 bits, some to 8. `windows`: texts to decide on,
    int64 (T,) each. `fixed`: bits of layers about which nothing is decided; they are not in the budget.
    The network is left as it was.
    """
    sensitive = sensitivities(network, windows, progress)
    reference = reference_logits(network, windows)
    eight: dict[str, Packed] = {}
    tried: list[tuple[float, int, dict[str, Packed]]] = []
    search: list[dict[str, Any]] = []
    for block in blocks or _BLOCKS:
        four = round_all(network, 4, block, progress, sensitive, fixed)
        open_ = {n: p for n, p in four.items() if n not in fixed}
        if _bits(open_.values()) > budget and not blocks:
            continue
        eight = eight or round_all(network, 8, 32, progress, sensitive, fixed)
        mixed, upgraded = _spend(network, sensitive, open_, eight, budget)
        mixed |= {n: p for n, p in four.items() if n in fixed}
        kl = divergence(network, mixed, reference, windows)
        tried.append((kl, block, mixed))
        search.append({"kind": "blocks", "block": block, "kl": kl, "bits": _bits(mixed.values()),
                       "eight_bit_layers": upgraded})  # fmt: skip
    if not tried:
        raise UsageError(
            f"No way to 4 bits stays within {budget:g} bits a weight", "scales and 8-bit layers count as well",
            "use --bits 5",
        )  # fmt: skip
    kl, block, packed = min(tried, key=lambda t: t[0])
    for row in search:
        row["chosen"] = row["block"] == block
    settings = {"block_size": block, "kl": round(kl, 6), "bits_per_weight": round(_bits(packed.values()), 3),
                "eight_bit_layers": sum(p.bits == 8 for p in packed.values()), "layers": len(packed)}  # fmt: skip
    return Choice(packed, settings, search)


def round_all(
    network: nn.Module,
    bits: int,
    block: int,
    progress: Progress,
    sensitive: dict[str, Sensitivity] | None = None,
    fixed: Mapping[str, int] = {},
) -> dict[str, Packed]:
    """Every linear layer rounded alike, but those that `fixed` gives bits of their own, 32 for none; with
    `sensitive`, by how large its inputs are."""
    layers, packed = linears(network), {}
    for i, (name, layer) in enumerate(layers.items()):
        own = fixed.get(name, bits)
        if own == 32:
            continue
        size = block if own == bits else 32
        while size > 16 and size >= 2 * layer.in_features:  # a block longer than the row is padding
            size //= 2
        packed[name] = searched(
            layer.weight.detach().float(), own, size, sensitive[name].inputs if sensitive else None
        )
        progress(f"rounding to {bits} bits, blocks of {block}", i + 1, len(layers))
    return packed


def _spend(
    network: nn.Module, sensitive: dict[str, Sensitivity], four: dict[str, Packed],
    eight: dict[str, Packed], budget: float,
) -> tuple[dict[str, Packed], list[str]]:  # fmt: skip
    """8 bits where they buy most for a byte, within the budget; returns what was upgraded as well."""
    weights = sum(p.rows * p.columns for p in four.values())
    left = budget * weights / 8 - sum(p.bytes for p in four.values())
    offers = []
    for unit in _units(four):
        gain = sum(_cost(network, n, sensitive[n], four[n]) - _cost(network, n, sensitive[n], eight[n])
                   for n in unit)  # fmt: skip
        price = sum(eight[n].bytes - four[n].bytes for n in unit)
        offers.append((gain / max(price, 1), price, unit))
    mixed, upgraded = dict(four), []
    for _, price, unit in sorted(offers, key=lambda o: -o[0]):
        if price <= left:
            left -= price
            upgraded += unit
            mixed.update({n: eight[n] for n in unit})
    return mixed, sorted(upgraded)


def _units(names: Any) -> list[list[str]]:
    units: dict[str, list[str]] = {}
    for name in names:
        parent, _, own = name.rpartition(".")
        units.setdefault(f"{parent}.qkv" if own in _TOGETHER else name, []).append(name)
    return list(units.values())


def _cost(network: nn.Module, name: str, sensitive: Sensitivity, packed: Packed) -> float:
    weight = linears(network)[name].weight.detach().float()
    error = (packed.dequantised() - weight).square() @ sensitive.inputs
    return float(0.5 * (sensitive.outputs * error).sum())


def _bits(packed: Any) -> float:
    every = list(packed)
    return 8 * sum(p.bytes for p in every) / max(sum(p.rows * p.columns for p in every), 1)


@torch.no_grad()
def reference_logits(network: nn.Module, windows: Sequence[Tensor]) -> list[Tensor]:
    """log-probabilities float32 (T, V) for each window."""
    return [network(w[None], use_cache=False).logits[0].float().log_softmax(-1) for w in windows]


@torch.no_grad()
def divergence(
    network: nn.Module, packed: dict[str, Packed], reference: list[Tensor], windows: Sequence[Tensor]
) -> float:
    """Mean KL(reference ‖ network with packed weights) in nats a token; the network is restored."""
    layers = {n: m for n, m in linears(network).items() if n in packed}
    originals = {n: m.weight for n, m in layers.items()}
    try:
        for name, layer in layers.items():
            value = packed[name].dequantised().to(originals[name].dtype)
            layer.weight = nn.Parameter(value, requires_grad=False)
        total, count = 0.0, 0
        for window, expected in zip(windows, reference):
            seen = network(window[None], use_cache=False).logits[0].float().log_softmax(-1)
            total += float((expected.exp() * (expected - seen)).sum())
            count += len(window)
        return total / count
    finally:
        for name, layer in layers.items():
            layer.weight = originals[name]


def apply(network: Any, packed: dict[str, Packed]) -> None:
    """Put packed layers into the network; a table tied to the head becomes the head's."""
    table, head = network.get_input_embeddings(), network.get_output_embeddings()
    tied = table.weight is head.weight
    for name, weight in packed.items():
        parent, _, own = name.rpartition(".")
        owner = network.get_submodule(parent) if parent else network
        layer = getattr(owner, own)
        bias = None if layer.bias is None else layer.bias.detach().float()
        setattr(owner, own, PackedLinear(weight, bias))
    if tied and isinstance(head := network.get_output_embeddings(), PackedLinear):
        table.packed = head.packed


def unpack(network: Any) -> None:
    """Packed layers become float ones again, of the same values."""
    for name, layer in [(n, m) for n, m in network.named_modules() if isinstance(m, PackedLinear)]:
        made = nn.Linear(
            layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta"
        )
        made.weight = nn.Parameter(layer.weight, requires_grad=False)
        if layer.bias is not None:
            made.bias = nn.Parameter(layer.bias, requires_grad=False)
        network.set_submodule(name, made)
    table = network.get_input_embeddings()
    if hasattr(table, "packed"):
        del table.packed
