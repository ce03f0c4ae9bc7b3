"""GPTQ, AWQ, compressed-tensors and NF4 folders: weights to the bit, integers kept where they can be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from edgekit.errors import SourceError
from edgekit.layers.packed import PackedLinear
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language

GROUP = 32
Layer = dict[str, Tensor]
Written = tuple[Layer, Tensor]  # a layer's tensors, and the weight they stand for


def words(values: Tensor, bits: int = 4) -> Tensor:
    """int32 along the last axis, the first value lowest, by a plain loop."""
    per = 32 // bits
    out = torch.zeros(*values.shape[:-1], values.shape[-1] // per, dtype=torch.int64)
    for i in range(per):
        out |= values[..., i::per].long() << (bits * i)
    return torch.where(out >= 2**31, out - 2**32, out).to(torch.int32)


def rounded(weight: Tensor, bits: int = 4, group: int = GROUP) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (N, K), scales and zero points (N, groups)."""
    x = weight.float().reshape(len(weight), -1, group)
    low, high = x.amin(-1), x.amax(-1)
    scale = ((high - low) / (2**bits - 1)).half().float()
    zero = (-low / scale).round().clamp(1, 2**bits - 1)
    q = (x / scale[..., None] + zero[..., None]).round().clamp(0, 2**bits - 1)
    return q.flatten(1), scale, zero


def weight_of(q: Tensor, scale: Tensor, zero: Tensor, group: int = GROUP) -> Tensor:
    return (q - zero.repeat_interleave(group, 1)) * scale.repeat_interleave(group, 1)


def gptq(weight: Tensor, order: Tensor | None = None) -> Written:
    q, scale, zero = rounded(weight)
    index = torch.arange(weight.shape[1]) // GROUP if order is None else order
    tensors = {
        "qweight": words(q).T.contiguous(),
        "qzeros": words(zero.T - 1),
        "scales": scale.T.contiguous().half(),
        "g_idx": index.to(torch.int32),
    }
    return tensors, (q - zero[:, index]) * scale[:, index]


def act_order(weight: Tensor) -> Written:
    return gptq(weight, torch.randperm(weight.shape[1], generator=torch.Generator().manual_seed(1)) // GROUP)


def awq(weight: Tensor) -> Written:
    """AutoAWQ's gemm layout: eight columns a word, interleaved."""
    q, scale, zero = rounded(weight)
    order = [0, 2, 4, 6, 1, 3, 5, 7]  # pack_intweight of AutoAWQ

    def columns(x: Tensor) -> Tensor:
        return words(x.T.reshape(x.shape[1], -1, 8)[..., order].flatten(1))

    return {"qweight": columns(q), "qzeros": columns(zero), "scales": scale.T.contiguous().half()}, weight_of(
        q, scale, zero
    )


def packed_quantized(weight: Tensor) -> Written:
    """compressed-tensors, w4a16 with symmetric groups."""
    x = weight.float().reshape(len(weight), -1, GROUP)
    scale = (x.abs().amax(-1) / 7.5).half().float()
    q = (x / scale[..., None]).round().clamp(-8, 7).flatten(1)
    tensors = {"weight_packed": words(q + 8), "weight_scale": scale.half(), "weight_shape": torch.tensor(weight.shape)}
    return tensors, q * scale.repeat_interleave(GROUP, 1)


def int_quantized(weight: Tensor) -> Written:
    """compressed-tensors, 8 bits with a scale for each output."""
    scale = (weight.float().abs().amax(1, keepdim=True) / 127).half().float()
    q = (weight.float() / scale).round().clamp(-128, 127)
    return {"weight": q.to(torch.int8), "weight_scale": scale.half()}, q * scale


def nf4(weight: Tensor) -> Written:
    """bitsandbytes with nested scales; levels of the QLoRA paper (arXiv 2305.14314)."""
    levels = torch.tensor(
        [
            -1.0,
            -0.6961928,
            -0.52507305,
            -0.39491749,
            -0.28444138,
            -0.18477343,
            -0.09105004,
            0.0,
            0.0795803,
            0.1609302,
            0.24611230,
            0.33791524,
            0.44070983,
            0.56261700,
            0.72295684,
            1.0,
        ]
    )
    x = weight.float().flatten().reshape(-1, 64)
    table, nested = torch.linspace(-1, 1, 256), 256
    largest = x.abs().amax(1)
    offset = largest.mean()
    size = (largest - offset).abs().max()
    codes = ((largest - offset)[:, None] / size - table).abs().argmin(1)
    scale = table[codes] * size + offset
    q = (x / scale[:, None])[..., None].sub(levels).abs().argmin(-1).flatten()
    state = {
        "quant_type": "nf4",
        "blocksize": 64,
        "dtype": "float32",
        "shape": list(weight.shape),
        "nested_blocksize": nested,
        "nested_dtype": "float32",
        "nested_offset": float(offset),
    }
    raw = torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8)
    tensors = {
        "weight": ((q[::2] << 4) | q[1::2]).to(torch.uint8)[:, None],
        "weight.absmax": codes.to(torch.uint8),
        "weight.quant_map": levels,
        "weight.nested_absmax": torch.full((-(-len(codes) // nested),), float(size)),
        "weight.nested_quant_map": table,
        "weight.quant_state.bitsandbytes__nf4": raw,
    }
    return tensors, (levels[q].reshape(-1, 64) * scale[:, None]).reshape(weight.shape)


INT4 = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": GROUP}}},
}
INT8 = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}},
}
KINDS: dict[str, tuple[Callable[[Tensor], Written], dict[str, Any], bool]] = {
    "gptq": (gptq, {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False}, True),
    "gptq, act order": (act_order, {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": True}, False),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": GROUP, "version": "gemm", "zero_point": True}, True),
    "pack-quantized": (packed_quantized, INT4, True),
    "int-quantized": (int_quantized, INT8, True),
    "nf4": (nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, False),
}


def checkpoint(path: Path, kind: str, family: str = "llama", **more: Any) -> tuple[Path, dict[str, Tensor]]:
    """A folder of the kind, and the weights its layers stand for."""
    write, config, _ = KINDS[kind]
    language.folder(path, family, **more)
    tensors, expected = load_file(path / "model.safetensors"), {}
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        layer, expected[name] = write(tensors.pop(name))
        tensors |= {f"{name.removesuffix('.weight')}.{part}": t.contiguous() for part, t in layer.items()}
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    data = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps({**data, "quantization_config": config}), encoding="utf-8")
    return path, expected


@pytest.mark.parametrize("kind", KINDS)
def test_layers_hold_the_weights_that_the_checkpoint_stands_for(kind: str, tmp_path: Path) -> None:
    folder, expected = checkpoint(tmp_path / "model", kind)
    source = HuggingFaceSource()
    model = source.read(str(folder), SourceOptions(), tmp_path / "files")
    network = source.network(model, "float32")
    layers = {f"{n}.weight": m for n, m in network.named_modules() if n.endswith("_proj")}
    assert layers.keys() == expected.keys()
    for name, layer in layers.items():
        assert isinstance(layer, PackedLinear if KINDS[kind][2] else nn.Linear)
        assert torch.allclose(layer.weight, expected[name], rtol=1e-6, atol=1e-7), name
    kept = any("own integers" in n for n in network.reading_notes)
    assert kept == KINDS[kind][2] and len(network.reading_notes) == 1
    with torch.no_grad():
        assert torch.isfinite(network(torch.arange(4, 20)[None]).logits).all()


def test_layers_of_each_kind_are_rotated_their_way(tmp_path: Path) -> None:
    """Gemma 3: frequencies of its own for the layers with a window, of which the first is one."""
    theirs = {"rope_type": "linear", "rope_theta": 1e6, "factor": 4.0}
    ways = {"full_attention": theirs, "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    more = {"rope_parameters": ways, "num_hidden_layers": 6, "sliding_window": 12}
    language.folder(tmp_path / "float", "gemma3_text", **more)
    folder, weights = checkpoint(tmp_path / "model", "gptq", "gemma3_text", **more)
    source = HuggingFaceSource()
    model = source.read(str(folder), SourceOptions(), tmp_path / "files")
    network = source.network(model, "float32")
    original = AutoModelForCausalLM.from_pretrained(tmp_path / "float", attn_implementation="eager")
    original.load_state_dict(weights, strict=False)
    ids = torch.arange(4, 60)[None]
    with torch.no_grad():
        assert torch.allclose(network(ids).logits, original(ids).logits, atol=1e-4)


@pytest.mark.slow
def test_a_package_of_one_keeps_it_and_says_so(tmp_path: Path, edgekit: Callable[..., Any]) -> None:
    folder, _ = checkpoint(tmp_path / "model", "awq")
    text = language.text_file(tmp_path / "text.txt", 150)
    ran = edgekit(
        "convert",
        folder,
        "--eval",
        text,
        "--eval-windows",
        1,
        *language.RANDOM,
        "--launches",
        0,
        "-o",
        tmp_path,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    package = ran.json["packages"][0]
    assert package["precision"] == "w4"
    assert any("own integers, 4 bits in blocks of 32" in n for n in package["receipt"]["notes"])
    kl = next(m["value"] for m in package["receipt"]["measurements"] if m["name"] == "KL divergence")
    other = edgekit("convert", folder, "-p", "w8", *language.RANDOM, "--launches", 0, "-o", tmp_path / "other")
    assert other.code == 2 and "quantised to w4 already" in other.err  # a name says what is inside
    assert kl < 0.02  # of the head's and the inputs' rounding: the layers are the source's


@pytest.mark.parametrize(
    "change",
    [
        {"bits": 3},
        {"quant_method": "awq", "version": "gemv"},
        {"quant_method": "compressed-tensors", "config_groups": {}},
    ],
)
def test_what_is_not_read_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    method = change.get("quant_method", "gptq")
    folder, _ = checkpoint(tmp_path / "model", {"compressed-tensors": "int-quantized"}.get(method, method))
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    data["quantization_config"] |= change
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    source = HuggingFaceSource()
    with pytest.raises(SourceError, match=r"does not read|lacks"):
        source.network(source.read(str(folder), SourceOptions(), tmp_path / "files"), "float32")
