"""YOLOv9 and GELAN networks, built from a topology and the shapes of the tensors.

A topology (`yolov9_topology.py`) says which layer feeds which; everything else is read off the
tensors. The training form holds what the checkpoint holds, so that loading is strict; `deploy`
turns it into the inference form: without the auxiliary branch (PGI exists to give better
gradients and is not used at inference, arXiv 2402.13616 section 4.1), with RepConv merged and
batch norm folded.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.architectures.blocks import ELAN, SPPELAN, AConv, ADown, CBFuse, CBLinear, Conv, Shapes
from edgekit.architectures.detect_head import DetectHead
from edgekit.architectures.reparameterize import merge


@dataclass(frozen=True)
class Layer:
    """One layer: its kind and the indices of the layers that feed it (-1 is the image).

    `options` holds what tensors cannot say: a stride, split widths, fusion picks.
    """

    kind: str
    sources: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Head:
    """One detection head: the layer whose tensors it reads, their names, and its levels."""

    index: int
    branches: tuple[str, str]
    sources: tuple[int, ...]


@dataclass(frozen=True)
class Topology:
    """A network's wiring. `heads[0]` is the head inference uses; the others only train."""

    name: str
    layers: Mapping[int, Layer]
    heads: tuple[Head, ...]
    activation: str = "SiLU"

    def without_auxiliary(self) -> Topology:
        needed: set[int] = set()
        todo = list(self.heads[0].sources)
        while todo:
            index = todo.pop()
            if index >= 0 and index not in needed:
                needed.add(index)
                todo.extend(self.layers[index].sources)
        layers = {i: layer for i, layer in self.layers.items() if i in needed}
        return replace(self, layers=layers, heads=self.heads[:1])


_SIZED_BY_TENSORS: dict[str, Any] = {"ELAN": ELAN, "AConv": AConv, "ADown": ADown, "SPPELAN": SPPELAN}


class Concat(nn.Module):
    def forward(self, x: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(x), 1)


class YOLOv9(nn.Module):
    """The network in its training form. `forward`: image float32 (B, 3, H, W) in 0..1 to
    boxes float32 (B, N, 4), x1 y1 x2 y2 in input pixels, and scores float32 (B, C, N).

    Raises RuntimeError (KeyError for a tensor that is missing) when the shapes fit no network.
    """

    def __init__(self, topology: Topology, shapes: Mapping[str, Sequence[int]]) -> None:
        super().__init__()
        self.topology = topology
        self.layers = nn.ModuleDict()
        try:
            self._build(Shapes(shapes))
            self._measure_strides()
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise RuntimeError(f"after {len(self.layers)} layers: {error}") from error

    def _build(self, root: Shapes) -> None:
        topology, act = self.topology, self.topology.activation
        channels: dict[int, int] = {-1: 3}
        split_widths: list[int] = []
        for index, layer in topology.layers.items():
            here, inputs = root.under(str(index)), [channels[s] for s in layer.sources]
            block: nn.Module
            if layer.kind in _SIZED_BY_TENSORS:
                block = _SIZED_BY_TENSORS[layer.kind].like(here, inputs[0], act)
                width = _width(block)
            elif layer.kind == "Conv":
                block = conv = Conv.like(here, inputs[0], act, layer.options.get("stride", 2))
                width = conv.out_channels
            elif layer.kind == "CBLinear":
                # Each CBLinear repeats the splits of the one before and adds one of its own.
                width = here["conv.weight"][0]
                split_widths = list(layer.options.get("splits") or [*split_widths, width - sum(split_widths)])
                block = CBLinear.like(here, inputs[0], split_widths)
            elif layer.kind == "CBFuse":
                block, width = CBFuse(layer.options["picks"]), inputs[-1]
            elif layer.kind == "Concat":
                block, width = Concat(), sum(inputs)
            elif layer.kind == "Upsample":
                block, width = nn.Upsample(scale_factor=2.0, mode="nearest"), inputs[0]
            else:
                block, width = nn.Identity(), inputs[0]
            self.layers[str(index)], channels[index] = block, width
        self.heads = nn.ModuleList(
            DetectHead.like(root.under(str(h.index)), h.branches, [channels[s] for s in h.sources], act)
            for h in topology.heads
        )

    @property
    def main(self) -> DetectHead:
        head = self.heads[0]
        assert isinstance(head, DetectHead)
        return head

    def features(self, image: Tensor) -> list[list[Tensor]]:
        """The inputs of each head, in the order of `heads`."""
        values: dict[int, Any] = {-1: image}
        for index, layer in self.topology.layers.items():
            inputs = [values[s] for s in layer.sources]
            many = layer.kind in ("Concat", "CBFuse")
            values[index] = self.layers[str(index)](inputs if many else inputs[0])
        return [[values[s] for s in head.sources] for head in self.topology.heads]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        return self.main.decode(self.features(image)[0])

    def raw(self, image: Tensor) -> list[list[Tensor]]:
        """Undecoded predictions of every head, the main one first: what a loss is taken on."""
        return [head(x) for head, x in zip(self.heads, self.features(image))]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy a checkpoint's tensors (canonical names) in; every one must find its place.

        Raises KeyError naming the tensors that are missing or left over.
        """
        state = {self._own_name(k): v for k, v in tensors.items() if not _is_constant(k)}
        result = self.load_state_dict(state, strict=False)
        missing = [k for k in result.missing_keys if not k.endswith("num_batches_tracked")]
        if missing or result.unexpected_keys:
            raise KeyError(
                f"missing: {missing[:5]} ({len(missing)}); "
                f"left over: {result.unexpected_keys[:5]} ({len(result.unexpected_keys)})"
            )

    def _own_name(self, name: str) -> str:
        index, _, rest = name.partition(".")
        for i, head in enumerate(self.topology.heads):
            for branch, own in zip(head.branches, ("box", "cls")):
                if int(index) == head.index and rest.startswith(branch + "."):
                    return f"heads.{i}.{own}{rest[len(branch) :]}"
        return f"layers.{name}"

    def canonical_state(self) -> dict[str, Tensor]:
        """The state dict under the names checkpoints use; `load` takes it back."""
        names: dict[str, Tensor] = {}
        for name, tensor in self.state_dict().items():
            kind, index, rest = name.split(".", 2)
            if kind == "heads":
                head = self.topology.heads[int(index)]
                own, _, rest = rest.partition(".")
                branch = head.branches[("box", "cls").index(own)]
                index, rest = str(head.index), f"{branch}.{rest}"
            names[f"{index}.{rest}"] = tensor
        return names

    def _measure_strides(self) -> None:
        side = 256
        probe = copy.deepcopy(self).to("meta").eval()
        with torch.no_grad():
            levels = probe.features(torch.empty(1, 3, side, side, device="meta"))
        for head, features in zip(self.heads, levels):
            assert isinstance(head, DetectHead)
            head.strides = [side // f.shape[2] for f in features]

    def deploy(self) -> YOLOv9:
        """A copy that computes the same boxes and scores with what inference needs, no more."""
        network = copy.deepcopy(self).eval()
        network.topology = self.topology.without_auxiliary()
        network.heads = network.heads[:1]
        network.layers = nn.ModuleDict({str(i): network.layers[str(i)] for i in network.topology.layers})
        merge(network)
        return network


def _is_constant(name: str) -> bool:
    """The bins of the distribution (0, 1, 2, …) are stored by some; ours are computed."""
    return ".dfl" in name or ".anc2vec" in name


def _width(block: nn.Module) -> int:
    if isinstance(block, ADown):
        return block.cv1.out_channels + block.cv2.out_channels
    last = [m for m in block.modules() if isinstance(m, Conv)][-1]
    return last.out_channels


def flops(network: YOLOv9, height: int = 640, width: int = 640) -> int:
    """Floating-point operations (two for each multiply-accumulate) for one image, all heads."""
    from torch.utils.flop_counter import FlopCounterMode

    probe = copy.deepcopy(network).to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        image = torch.empty(1, 3, height, width, device="meta")
        list(itertools.chain.from_iterable(probe.raw(image)))
    return int(counter.get_total_flops())
