"""The network of a quantised checkpoint: its layers replaced one by one, and what became of them counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from edgekit.layers.packed import Packed, PackedLinear
from edgekit.sources.assembly import Tensors, assemble
from edgekit.sources.quantised import awq, bitsandbytes, blocks, compressed, gptq
from edgekit.sources.quantised.layer import Floats, Integers, Parts
from edgekit.sources.quantised.stated import Stated
from edgekit.spec import Precision

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

_METHODS: dict[str, Any] = {
    "gptq": gptq,
    "awq": awq,
    "compressed-tensors": compressed,
    "bitsandbytes": bitsandbytes,
    "fp8": blocks,
}
_BLOCKS = (16, 32, 64, 128, 256)
_WHOLE_ROW = 32  # the block of a scale that holds for a whole row
_WIDTHS = (2, 4, 8)  # that MatMulNBits has


class Held(Protocol):
    """What a file says of a tensor, by huggingface.py."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def kind(self) -> str: ...


class Reader:
    """Reads a checkpoint that is quantised as `stated`. Raises SourceError for a method or a setting that is not
    known."""

    def __init__(self, stated: Stated) -> None:
        self.stated = stated
        self.integers, self.floats = Counter[str](), Counter[str]()
        self._method = _METHODS[stated.method]
        self._method.check(stated)

    def network(self, folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
        """The transformers model in float32. Raises SourceError for tensors that do not fit it."""
        return assemble(folder, config, self._replace, self._check_rest)

    def notes(self) -> tuple[str, ...]:
        lines = [f"{n} layers keep the checkpoint's own integers, {kind}" for kind, n in sorted(self.integers.items())]
        lines += [f"{n} layers became float: {why}" for why, n in sorted(self.floats.items())]
        if self._method is compressed and compressed.rounds_inputs(self.stated):
            lines.append("what layers are given is not rounded, as the checkpoint's own runtime would")
        return tuple(lines)

    def _replace(self, name: str, layer: nn.Module, tensors: Tensors) -> nn.Module | None:
        table = isinstance(layer, nn.Embedding)
        rows, columns = layer.weight.shape  # type: ignore[misc]
        parts = Parts(tensors, name, int(rows), int(columns))
        content = self._method.read(self.stated, parts)
        if content is None:
            return None
        if table:
            self.floats["they are tables that are looked up"] += 1
            tensors[f"{name}.weight"] = content.weight if isinstance(content, Floats) else _values(content)
            return None
        bias = tensors.pop(f"{name}.bias", None)
        if bias is not None and tuple(bias.shape) != (rows,):
            tensors[f"{name}.bias"] = bias
            raise parts.misfit("bias", f"a vector of {rows}")
        bias = None if bias is None else bias.float()
        packed = self._packed(content)
        if packed is not None:
            self.integers[f"{content.bits} bits in blocks of {packed.block}"] += 1
            return PackedLinear(packed, bias)
        linear = nn.Linear(int(columns), int(rows), bias=bias is not None, device="meta")
        tensors[f"{name}.weight"] = content.weight if isinstance(content, Floats) else _values(content)
        if bias is not None:
            tensors[f"{name}.bias"] = bias
        return linear

    def _packed(self, content: Integers | Floats) -> Packed | None:
        """The weight as MatMulNBits holds it; None where it cannot, and the reason is counted."""
        why, block = "", 0
        if isinstance(content, Floats):
            why = content.why
        elif content.order is not None:
            why = "its groups are out of order (desc_act)"
        elif int(content.zeros.min()) < 0 or int(content.zeros.max()) >= 2**content.bits:
            why = "a zero point is out of range"
        else:
            block = max((b for b in _BLOCKS if content.group % b == 0), default=0)
            if content.scales.shape[1] == 1:
                block = _WHOLE_ROW
            if not block:
                why = f"groups of {content.group} inputs"
        if why:
            self.floats[why] += 1
            return None
        assert isinstance(content, Integers)
        return _in_blocks(content, block)

    def _check_rest(self, layers: Mapping[str, nn.Module], tensors: Iterable[str]) -> None:
        """Checks that no tensor of a layer is left over: it would have had a meaning."""
        for name in tensors:
            owner = name
            while owner and owner not in layers:
                owner = owner.rpartition(".")[0]
            if owner and name.removeprefix(f"{owner}.") not in ("weight", "bias"):
                raise self.stated.unread(f"{name[:160]} is left over, which says more about its layer")


def _in_blocks(weight: Integers, block: int) -> Packed:
    """Each group as one or more blocks; what a row lacks to whole blocks stands for zero."""
    rows, columns = weight.values.shape
    count, bits = -(-columns // block), min(w for w in _WIDTHS if w >= weight.bits)
    group = torch.arange(count) * block // weight.group
    scales, zeros = weight.scales[:, group], weight.zeros[:, group]
    values = weight.values
    if count * block > columns:
        rest = zeros[:, -1:].to(torch.uint8).expand(-1, count * block - columns)
        values = torch.cat([values, rest], 1)
    return Packed.of(values.reshape(rows, count, block), scales, zeros, bits, columns, exact=True)


def _values(integers: Integers) -> Tensor:
    columns = integers.values.shape[1]
    index = torch.arange(columns) // integers.group if integers.order is None else integers.order
    weight: Tensor = (integers.values.float() - integers.zeros.float()[:, index]) * integers.scales[:, index]
    return weight


def precision(stated: Stated, layers: Mapping[str, tuple[int, int]], held: Mapping[str, Held]) -> Precision | None:
    """What most of the layers that are quantised keep, by what the files say of their tensors; None where all
    become float. `layers`: outputs and inputs of each; `held`: the `shape` and `kind` of each tensor."""
    sizes = Counter[int]()
    for name, (rows, columns) in layers.items():
        bits = _width(stated, name, columns, held)
        if bits:
            sizes[4 if bits <= 4 else 8] += rows * columns
    known = {4: Precision.W4, 8: Precision.W8}
    return known[sizes.most_common(1)[0][0]] if sizes else None


def _width(stated: Stated, name: str, columns: int, held: Mapping[str, Held]) -> int:
    """The width of the integers that the layer keeps; 0 where it becomes float."""

    def size(part: str, axis: int) -> int:
        tensor = held.get(f"{name}.{part}")
        return tensor.shape[axis] if tensor and len(tensor.shape) == 2 else 0

    bytes_ = f"{name}.weight" in held and held[f"{name}.weight"].kind == "I8"
    if stated.method == "gptq":
        return size("qweight", 0) * 32 // columns
    if stated.method == "awq":
        return 4 if size("qweight", 0) else 0
    if stated.method == "compressed-tensors":
        whole = min(max(compressed.widths(stated)), 8) if bytes_ else 0
        return size("weight_packed", 1) * 32 // columns or whole
    return 8 if stated.method == "bitsandbytes" and bytes_ else 0


def check_method(stated: Stated) -> None:
    """Raises SourceError for settings that are not read, before anything is."""
    if stated.method in _METHODS:
        _METHODS[stated.method].check(stated)
