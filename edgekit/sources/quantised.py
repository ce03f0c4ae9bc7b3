"""Checkpoints that are quantised already: GPTQ, AWQ, compressed-tensors and bitsandbytes' NF4.

Their integers are kept where MatMulNBits holds them exactly, as

    weight[n, k] = (integer[n, k] - zero[n, group]) * scale[n, group]

with groups of consecutive inputs of 16 to 256; otherwise the layer becomes float, and a note says why.
Layouts: AutoGPTQ's and AutoAWQ's kernels, vLLM's compressed-tensors, bitsandbytes' functional.py.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.errors import SourceError
from edgekit.layers.packed import Packed, PackedLinear
from edgekit.sources.assembly import Tensors, assemble, stated, take
from edgekit.spec import Precision

_METHODS = ("gptq", "awq", "compressed-tensors", "bitsandbytes")
_BLOCKS = (16, 32, 64, 128, 256)
_AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]  # the nibble that holds each of eight columns


def is_quantised(config: Any) -> bool:
    return stated(config).get("quant_method") in _METHODS


def precision(config: Any) -> Precision | None:
    """What most layers keep; None when they become float."""
    said = stated(config)
    bits = said.get("bits") or said.get("w_bit") or _weights(said).get("num_bits")
    known = {4: Precision.W4, 8: Precision.W8} if said["quant_method"] != "bitsandbytes" else {}
    return known.get(int(bits or 0))


class Reader:
    """Replaces layers one by one, and counts what became of them."""

    def __init__(self, config: Any, name: str) -> None:
        self.said, self.name = stated(config), name
        self.kept, self.lost = Counter[str](), Counter[str]()
        read = {"gptq": self._gptq, "awq": self._awq, "compressed-tensors": self._compressed,
                "bitsandbytes": self._nf4}  # fmt: skip
        self._read = read[self.said["quant_method"]]

    def network(self, folder: Path, config: Any) -> Any:
        """The transformers model in float32. Raises SourceError for a layout that is not known."""
        return assemble(folder, config, self._replace)

    def notes(self) -> tuple[str, ...]:
        lines = [
            f"{n} layers keep the checkpoint's own integers, {kind}"
            for kind, n in sorted(self.kept.items())
        ]
        return (*lines, *(f"{n} layers became float: {why}" for why, n in sorted(self.lost.items())))

    def _replace(self, name: str, layer: nn.Linear, tensors: Tensors) -> nn.Module | None:
        found = self._read(name, layer, tensors)
        if found is None:
            return None
        bias = tensors.pop(f"{name}.bias", None)
        bias = None if bias is None else bias.float()
        if isinstance(found, Packed):
            self.kept[f"{found.bits} bits in blocks of {found.block}"] += 1
            return PackedLinear(found, bias)
        made = nn.Linear(layer.in_features, layer.out_features, bias=bias is not None, device="meta")
        tensors[f"{name}.weight"] = found
        if bias is not None:
            tensors[f"{name}.bias"] = bias
        return made

    def _pack(
        self, integers: Tensor, scales: Tensor, zeros: Tensor | None, bits: int, why: str = ""
    ) -> Packed | Tensor:
        """`integers` (N, K), `scales` and `zeros` (N, groups)."""
        rows, columns = integers.shape
        group = -(-columns // scales.shape[1])
        scales = scales.float()
        middle = torch.full_like(scales, 2 ** (bits - 1)) if zeros is None else zeros.float()
        if not why and (middle.min() < 0 or middle.max() >= 2**bits):
            why = "a zero point is out of range"
        block = max((b for b in _BLOCKS if group % b == 0), default=0)
        if not why and (not block or columns % group):
            why = f"groups of {group} inputs"
        if why:
            self.lost[why] += 1
            spread = [v.repeat_interleave(group, 1)[:, :columns] for v in (middle, scales)]
            return (integers.float() - spread[0]) * spread[1]
        scales, middle = (v.repeat_interleave(group // block, 1) for v in (scales, middle))
        return Packed.of(integers.reshape(rows, -1, block), scales, middle, bits, columns, exact=True)

    def _gptq(self, name: str, layer: nn.Linear, tensors: Tensors) -> Packed | Tensor | None:
        if f"{name}.qweight" not in tensors:
            return None
        bits = self._bits(self.said.get("bits"), (2, 4, 8))
        integers = _unpacked(take(tensors, f"{name}.qweight").T, bits)[:, : layer.in_features]  # (N, K)
        zeros = _unpacked(take(tensors, f"{name}.qzeros"), bits)[:, : layer.out_features].T
        older = (
            self.said.get("checkpoint_format", "gptq") == "gptq"
        )  # which stores zero points less one
        scales = take(tensors, f"{name}.scales").T
        order = tensors.pop(f"{name}.g_idx", None)
        group = -(-layer.in_features // scales.shape[1])
        plain = torch.arange(layer.in_features, dtype=torch.int32) // group
        zeros = zeros.int() + (1 if older else 0)
        if order is None or torch.equal(order.int(), plain):
            return self._pack(integers, scales, zeros, bits)
        self.lost["its groups are out of order (desc_act)"] += 1
        index = order.long()
        weight: Tensor = (integers.float() - zeros.float()[:, index]) * scales.float()[:, index]
        return weight

    def _awq(self, name: str, layer: nn.Linear, tensors: Tensors) -> Packed | Tensor | None:
        if f"{name}.qweight" not in tensors:
            return None
        bits = self._bits(self.said.get("bits") or self.said.get("w_bit"), (4,))
        if self.said.get("version", "gemm").lower() != "gemm":
            raise self._unknown(f"version {self.said['version']}")
        integers, zeros = (
            _unpacked(take(tensors, f"{name}.{part}"), bits).reshape(-1, layer.out_features // 8, 8)[..., _AWQ_ORDER]
            .flatten(1).T for part in ("qweight", "qzeros")
        )  # fmt: skip
        return self._pack(integers, take(tensors, f"{name}.scales").T, zeros, bits)

    def _compressed(self, name: str, layer: nn.Linear, tensors: Tensors) -> Packed | Tensor | None:
        scale = tensors.pop(f"{name}.weight_scale", None)
        if scale is None:
            return None
        weights = _weights(self.said)
        bits = self._bits(weights.get("num_bits"), (4, 8))
        if weights.get("type", "int") != "int":
            raise self._unknown(f"weights of type {weights.get('type')}")
        if f"{name}.weight_g_idx" in tensors:
            raise self._unknown("groups out of order (actorder group)")
        shift = 2 ** (bits - 1)  # stored as unsigned, or as signed integers of 8 bits
        if f"{name}.weight_packed" in tensors:
            tensors.pop(f"{name}.weight_shape", None)
            integers = _unpacked(take(tensors, f"{name}.weight_packed"), bits)[:, : layer.in_features]
        else:
            integers = take(tensors, f"{name}.weight").int() + shift
        zeros = tensors.pop(f"{name}.weight_zero_point", None)
        if zeros is not None and zeros.dtype == torch.int32:
            zeros = _unpacked(zeros.T, bits).T[: layer.out_features]
        elif zeros is not None:
            zeros = zeros.int() + shift
        scale = scale.reshape(scale.shape[0], -1).float()
        if scale.shape[0] == 1:  # one for the whole layer
            scale = scale.expand(layer.out_features, -1)
        if scale.shape[1] == 1 and layer.in_features % 32 == 0:  # one for each output
            scale = scale.expand(-1, layer.in_features // 32).contiguous()
            zeros = (
                None
                if zeros is None
                else zeros.reshape(-1, 1).expand(layer.out_features, scale.shape[1])
            )
        return self._pack(integers, scale, zeros, bits)

    def _nf4(self, name: str, layer: nn.Linear, tensors: Tensors) -> Tensor | None:
        absmax = tensors.pop(f"{name}.weight.absmax", None)
        if absmax is None:
            return None
        state = next(
            (k for k in tensors if k.startswith(f"{name}.weight.quant_state.bitsandbytes__")), ""
        )
        if not state:
            raise self._unknown("8-bit weights")
        facts = json.loads(bytes(tensors.pop(state).tolist()))
        levels = take(tensors, f"{name}.weight.quant_map").float()
        stored = take(tensors, f"{name}.weight").flatten()
        scale = absmax.float()
        if f"{name}.weight.nested_absmax" in tensors:  # scales that are themselves quantised
            nested = take(tensors, f"{name}.weight.nested_absmax").float()
            table = take(tensors, f"{name}.weight.nested_quant_map").float()
            scale = (
                table[absmax.long()]
                * nested.repeat_interleave(facts["nested_blocksize"])[: len(absmax)]
            )
            scale = scale + facts["nested_offset"]
        values = levels[torch.stack([stored >> 4, stored & 15], 1).flatten().long()]
        values = values * scale.repeat_interleave(facts["blocksize"])[: len(values)]
        self.lost["NF4's levels are no even steps"] += 1
        return values.reshape(layer.out_features, layer.in_features)

    def _bits(self, found: Any, known: tuple[int, ...]) -> int:
        if found not in known:
            raise self._unknown(f"{found} bits")
        return int(found)

    def _unknown(self, what: str) -> SourceError:
        return SourceError(
            f"{self.name} is quantised in a way edgekit does not read",
            f"{self.said['quant_method']}, {what}", "take the float original of the model",
        )  # fmt: skip


def _weights(said: dict[str, Any]) -> dict[str, Any]:
    """What compressed-tensors does to weights: that of its only group."""
    groups = list((said.get("config_groups") or {}).values())
    return dict(groups[0].get("weights") or {}) if groups else {}


def _unpacked(words: Tensor, bits: int) -> Tensor:
    """uint8 values from int32 words along the last axis, the first in the lowest bits."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int32)
    return ((words.contiguous()[..., None] >> shifts) & (2**bits - 1)).flatten(-2).to(torch.uint8)
