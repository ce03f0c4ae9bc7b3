"""Which linear layers of a language model become 4 and which 8 bits, and in what blocks.

Rounding to 4 bits is compensated (feedback.py). One forward and one backward pass give how much the
predictions depend on each layer's outputs (the diagonal F of the Fisher information); with the second
moments H of its inputs, half of Σ F·eHeᵀ over the rows e of the rounding error estimates the KL
divergence that it causes. Layers become 8 bits where that buys most for a byte, until the size budget
is used. The block sizes, and the best of them without compensation, are then compared by the KL
divergence that is measured, on texts that nothing was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgekit.errors import UsageError
from edgekit.layers.packed import Packed, PackedLinear
from edgekit.package.search import Blocks
from edgekit.progress import Progress
from edgekit.quantize.budget import Rounded, bits_of, spend
from edgekit.quantize.feedback import Compensation, moments
from edgekit.quantize.rounding import searched

if TYPE_CHECKING:
    from transformers import PreTrainedModel


BUDGET = 5.0  # bits a weight: 4, and a float32 scale for each 32
_BLOCKS = (32, 64)
_SPARE = 1.01  # of the budget: a row may end within a block
EMBEDDING = "embedding"  # among the layers' names: a table that is the head's too


@dataclass
class Choice:
    """Packed layers by module name, and how they were chosen."""

    packed: dict[str, Packed]
    settings: dict[str, Any]
    search: tuple[Blocks, ...] = ()


@dataclass
class Trial:
    """All layers in one way. `kl`: measured, nats a token."""

    block: int
    packed: dict[str, Packed]
    kl: float
    compensated: bool

    def row(self, chosen: bool) -> Blocks:
        eight = tuple(sorted(n for n, p in self.packed.items() if p.bits == 8))
        return Blocks(self.block, self.compensated, self.kl, bits_of(self.packed.values()), eight, chosen)


def linears(network: nn.Module) -> dict[str, nn.Linear]:
    """The layers that can be packed, in order; those already packed are left out."""
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Linear)}


def choose(
    network: PreTrainedModel,
    windows: Sequence[Tensor],
    progress: Progress,
    budget: float = BUDGET,
    blocks: Sequence[int] = (),
    fixed: Mapping[str, int] = {},
) -> Choice:
    """Round every linear layer of a float32 network to 4 bits, some to 8. `windows`: texts to decide on,
    int64 (T,) each; of four or more, a quarter is kept to measure on. `fixed`: bits of layers about which
    nothing is decided, 32 for float ones; they are not in the budget. The network is left as it was.
    """
    held = windows[::4] if len(windows) > 3 else windows
    learning = [w for i, w in enumerate(windows) if i % 4] or windows
    fisher = fishers(network, learning, progress)
    four, plain, eight = _rounded(network, learning, fisher, blocks or _BLOCKS, fixed, progress)
    reference = reference_logits(network, held)

    def tried(rounded: dict[str, Rounded], block: int, compensated: bool) -> Trial:
        packed = spend(rounded, eight, budget, fixed)
        return Trial(block, packed, divergence(network, packed, reference, held), compensated)

    trials = [
        tried(rounded, block, True)
        for block, rounded in four.items()
        if blocks or bits_of(r.packed for n, r in rounded.items() if n not in fixed) <= budget * _SPARE
    ]
    if not trials:
        raise UsageError(
            f"No way to 4 bits stays within {budget:g} bits a weight",
            "scales and 8-bit layers count as well",
            "use --bits 5",
        )
    block = min(trials, key=lambda t: t.kl).block
    trials.append(tried(plain[block], block, False))
    best = min(trials, key=lambda t: t.kl)
    settings = {
        "block_size": best.block,
        "rounding": "compensated" if best.compensated else "each weight by itself",
        "kl": round(best.kl, 6),
        "bits_per_weight": round(bits_of(best.packed.values()), 3),
        "eight_bit_layers": sum(p.bits == 8 for p in best.packed.values()),
        "layers": len(best.packed),
    }
    return Choice(best.packed, settings, tuple(t.row(t is best) for t in trials))


def fishers(network: PreTrainedModel, windows: Sequence[Tensor], progress: Progress) -> dict[str, Tensor]:
    """For each linear layer the mean square of the gradient at its outputs, float32 (N,), and of that at
    the embedding's under `EMBEDDING`; the next tokens are drawn from the network itself. `windows`: token
    ids, int64 (T,) each."""
    layers = linears(network)
    sums = {n: torch.zeros(m.out_features) for n, m in layers.items()}
    table = network.get_input_embeddings()
    sums[EMBEDDING] = torch.zeros(table.weight.shape[1])
    hooks = [m.register_forward_hook(_watching(sums[n])) for n, m in layers.items()]
    generator = torch.Generator().manual_seed(0)
    for p in network.parameters():
        p.requires_grad_(False)
    try:
        for i, window in enumerate(windows):
            embedded = table(window[None]).requires_grad_(True)
            embedded.register_hook(partial(_add_squares, sums[EMBEDDING]))
            logits = network(inputs_embeds=embedded, use_cache=False).logits[0].float()
            with torch.no_grad():
                drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
            nn.functional.cross_entropy(logits, drawn, reduction="sum").backward()  # type: ignore[no-untyped-call]
            progress("weighing the layers", i + 1, len(windows))
    finally:
        for hook in hooks:
            hook.remove()
    total = sum(len(w) for w in windows)
    return {n: f / total for n, f in sums.items()}


def _watching(total: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def forward(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.register_hook(partial(_add_squares, total))  # type: ignore[no-untyped-call]

    return forward


def _add_squares(total: Tensor, gradient: Tensor) -> None:
    total.add_(gradient.detach().float().flatten(0, -2).square().sum(0))


def _rounded(
    network: PreTrainedModel,
    windows: Sequence[Tensor],
    fisher: dict[str, Tensor],
    blocks: Sequence[int],
    fixed: Mapping[str, int],
    progress: Progress,
) -> tuple[dict[int, dict[str, Rounded]], dict[int, dict[str, Rounded]], dict[str, Rounded]]:
    """Every layer in 4 bits by block size, with compensation and without, and in 8 bits."""
    layers = {n: m for n, m in linears(network).items() if fixed.get(n) != 32}
    table = network.get_input_embeddings()
    four: dict[int, dict[str, Rounded]] = {b: {} for b in blocks}
    plain: dict[int, dict[str, Rounded]] = {b: {} for b in blocks}
    eight: dict[str, Rounded] = {}
    for done, (name, moment) in enumerate(moments(network, layers, windows)):
        weight = layers[name].weight.detach().float()
        compensation, importance = Compensation(moment), moment.diagonal()
        looked_up = fisher[EMBEDDING] if layers[name].weight is table.weight else None
        costed = partial(_costed, weight, moment, fisher[name], looked_up)
        for block in blocks:
            size = _fitting(block, weight.shape[1])
            four[block][name] = costed(compensation.round(weight, 4, size))
            plain[block][name] = costed(searched(weight, 4, size, importance))
        eight[name] = costed(searched(weight, 8, _fitting(32, weight.shape[1]), importance))
        progress("rounding to 4 bits", done + 1, len(layers))
    return four, plain, eight


def _costed(weight: Tensor, moment: Tensor, fisher: Tensor, looked_up: Tensor | None, packed: Packed) -> Rounded:
    """`looked_up`: the mean square of the gradient where the rows are the embedding's as well."""
    error = packed.dequantised() - weight
    cost = 0.5 * (fisher * ((error @ moment) * error).sum(-1)).sum()
    if looked_up is not None:
        cost += 0.5 * (looked_up * error.square().mean(0)).sum()
    return Rounded(packed, float(cost))


def round_all(
    network: nn.Module, bits: int, block: int, progress: Progress, fixed: Mapping[str, int] = {}
) -> dict[str, Packed]:
    """Every linear layer rounded alike, without texts, but those that `fixed` gives bits of their own, 32
    for none."""
    layers, packed = linears(network), {}
    for i, (name, layer) in enumerate(layers.items()):
        own = fixed.get(name, bits)
        if own < 32:
            size = _fitting(block if own == bits else 32, layer.in_features)
            packed[name] = searched(layer.weight.detach().float(), own, size)
        progress(f"rounding to {bits} bits, blocks of {block}", i + 1, len(layers))
    return packed


def _fitting(block: int, columns: int) -> int:
    """A block longer than the row is padding."""
    while block > 16 and block >= 2 * columns:
        block //= 2
    return block


@torch.no_grad()
def reference_logits(network: nn.Module, windows: Sequence[Tensor]) -> list[Tensor]:
    """log-probabilities float32 (T, V) for each window."""
    return [network(w[None], use_cache=False).logits[0].float().log_softmax(-1) for w in windows]


@torch.no_grad()
def divergence(
    network: PreTrainedModel, packed: dict[str, Packed], reference: list[Tensor], windows: Sequence[Tensor]
) -> float:
    """Mean KL(reference ‖ network with packed weights) in nats a token; the network is restored."""
    layers = {n: m for n, m in linears(network).items() if n in packed}
    originals = {n: m.weight for n, m in layers.items()}
    table = network.get_input_embeddings()
    rows = table.weight
    try:
        for name, layer in layers.items():
            value = packed[name].dequantised().to(originals[name].dtype)
            layer.weight = nn.Parameter(value, requires_grad=False)
            if originals[name] is rows:
                table.weight = layer.weight
        total, count = 0.0, 0
        for window, expected in zip(windows, reference):
            seen = network(window[None], use_cache=False).logits[0].float().log_softmax(-1)
            total += float((expected.exp() * (expected - seen)).sum())
            count += len(window)
        return total / count
    finally:
        table.weight = rows
        for name, layer in layers.items():
            layer.weight = originals[name]


def apply(network: PreTrainedModel, packed: dict[str, Packed]) -> None:
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


def unpack(network: PreTrainedModel) -> None:
    """Packed layers become float ones again, of the same values."""
    for name, layer in [(n, m) for n, m in network.named_modules() if isinstance(m, PackedLinear)]:
        linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta")
        linear.weight = nn.Parameter(layer.weight, requires_grad=False)
        if layer.bias is not None:
            linear.bias = nn.Parameter(layer.bias, requires_grad=False)
        network.set_submodule(name, linear)
    table = network.get_input_embeddings()
    if hasattr(table, "packed"):
        del table.packed
