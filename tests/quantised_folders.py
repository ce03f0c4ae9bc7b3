"""Folders of the trained small model, quantised by plain formulae of each format: nothing of edgekit's own.

Integers are packed as one long number of Python, bit after bit, so that a width is a width and nothing else.
The model's feed-forward is widened from 172 to 192 with zeros, which changes nothing and divides by 64.

    python -m tests.quantised_folders     prints each folder's perplexity beside that of its true weights
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests import language

WIDE = 192
Layer = dict[str, Tensor]
Made = tuple[Layer, Tensor]  # a layer's tensors, and the weight that they stand for


@dataclass(frozen=True)
class Kind:
    """`config`: of the whole folder; `write`: a layer by its name; None: it stays float."""

    config: dict[str, Any]
    write: Callable[[str, Tensor], Made | None]
    kept: bool = True  # whether a package of the same width keeps the integers


def packed(values: Tensor, bits: int) -> Tensor:
    """int32 (rows, ⌈columns·bits/32⌉): each row one number, its first value lowest."""
    rows = []
    for row in values.long().tolist():
        number = sum(value << (bits * at) for at, value in enumerate(row))
        words = [(number >> (32 * i)) & 0xFFFFFFFF for i in range(math.ceil(len(row) * bits / 32))]
        rows.append([w - 2**32 if w >= 2**31 else w for w in words])
    return torch.tensor(rows, dtype=torch.int32)


def rounded(weight: Tensor, bits: int, group: int, even: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Integers (N, K), scales and zero points (N, groups); `even`: the same steps to both sides of zero."""
    x = weight.float().reshape(len(weight), -1, group)
    if even:
        scale = (x.abs().amax(-1) / (2 ** (bits - 1) - 1)).clamp(min=1e-4).half().float()
        zero = torch.full_like(scale, 2 ** (bits - 1))
    else:
        low, high = x.amin(-1).clamp(max=0), x.amax(-1).clamp(min=0)
        scale = ((high - low) / (2**bits - 1)).clamp(min=1e-4).half().float()
        zero = (-low / scale).round().clamp(1, 2**bits - 1)
    q = (x / scale[..., None] + zero[..., None]).round().clamp(0, 2**bits - 1)
    return q.flatten(1), scale, zero


def true_weight(q: Tensor, scale: Tensor, zero: Tensor, index: Tensor) -> Tensor:
    return (q - zero[:, index]) * scale[:, index]


def gptq(
    weight: Tensor, bits: int = 4, group: int = 64, later: bool = False, even: bool = False, ordered: bool = True
) -> Made:
    """AutoGPTQ's tensors; not `ordered`: inputs are dealt to the groups one by one (desc_act)."""
    columns = weight.shape[1]
    index = torch.arange(columns) // group
    if not ordered:
        index = torch.arange(columns) % (columns // group)
    sort = index.argsort(stable=True)
    q, scale, zero = rounded(weight[:, sort], bits, group, even)
    q = q[:, sort.argsort()]
    tensors = {
        "qweight": packed(q, bits).T.contiguous(),
        "qzeros": packed(zero.T - (0 if later else 1), bits),
        "scales": scale.T.contiguous().half(),
        "g_idx": index.to(torch.int32),
    }
    return tensors, true_weight(q, scale, zero, index)


def awq(weight: Tensor, group: int = 64) -> Made:
    q, scale, zero = rounded(weight, 4, group)
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def columns(x: Tensor) -> Tensor:
        return packed(x.T.reshape(x.shape[1], -1, 8)[..., order].flatten(1), 4)

    tensors = {"qweight": columns(q), "qzeros": columns(zero), "scales": scale.T.contiguous().half()}
    return tensors, true_weight(q, scale, zero, torch.arange(weight.shape[1]) // group)


def compressed(weight: Tensor, bits: int, group: int = 0, even: bool = True, whole_bytes: bool = False) -> Made:
    """compressed-tensors; no `group`: a scale for each output."""
    columns = weight.shape[1]
    q, scale, zero = rounded(weight, bits, group or columns, even)
    tensors = {"weight_scale": scale}
    if whole_bytes:
        tensors["weight"] = (q - 2 ** (bits - 1)).to(torch.int8)
    else:
        tensors |= {"weight_packed": packed(q, bits), "weight_shape": torch.tensor(weight.shape)}
    if not even:
        tensors["weight_zero_point"] = packed(zero.T, bits).T.contiguous()
    return tensors, true_weight(q, scale, zero, torch.arange(columns) // (group or columns))


def fp8(weight: Tensor, block: int = 0) -> Made:
    """Floats of 8 bits: a scale for each output, or for square blocks."""
    size = (block, block) if block else (1, weight.shape[1])
    x = weight.reshape(weight.shape[0] // size[0], size[0], weight.shape[1] // size[1], size[1])
    scale = (x.abs().amax((1, 3), keepdim=True) / 448).clamp(min=1e-8)
    stored = (x / scale).to(torch.float8_e4m3fn)
    tensors = {"weight": stored.reshape(weight.shape), "weight_scale": scale[:, 0, :, 0].contiguous()}
    return tensors, (stored.float() * scale).reshape(weight.shape)


NF4 = torch.tensor(
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


def nf4(weight: Tensor) -> Made:
    """bitsandbytes, scales as they are."""
    x = weight.float().flatten().reshape(-1, 64)
    scale = x.abs().amax(1).clamp(min=1e-6)
    q = (x / scale[:, None])[..., None].sub(NF4).abs().argmin(-1).flatten()
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "float32", "shape": list(weight.shape)}
    tensors = {
        "weight": ((q[::2] << 4) | q[1::2]).to(torch.uint8)[:, None],
        "weight.absmax": scale,
        "weight.quant_map": NF4.clone(),
        "weight.quant_state.bitsandbytes__nf4": torch.tensor(list(json.dumps(state).encode()), dtype=torch.uint8),
    }
    return tensors, (NF4[q].reshape(-1, 64) * scale[:, None]).reshape(weight.shape)


def in_bfloat16(made: Made) -> Made:
    """bitsandbytes' storage type that sharded training wants: the same bytes, called another type."""
    layer, weight = made
    return layer | {"weight": layer["weight"].flatten().view(torch.bfloat16)[:, None]}, weight


def fp8_layer(weight: Tensor) -> Made:
    """AutoFP8: one scale for the layer, and one for its inputs."""
    scale = (weight.abs().max() / 448).reshape(1)
    stored = (weight / scale).to(torch.float8_e4m3fn)
    tensors = {"weight": stored, "weight_scale": scale, "input_scale": torch.ones(1)}
    return tensors, stored.float() * scale


def int8(weight: Tensor) -> Made:
    """bitsandbytes' LLM.int8()."""
    largest = weight.abs().amax(1).clamp(min=1e-6)
    q = (weight * 127 / largest[:, None]).round()
    return {"weight": q.to(torch.int8), "SCB": largest}, q * largest[:, None] / 127


def _down(name: str) -> bool:
    return "down_proj" in name


def _first(name: str) -> bool:
    return ".0." in name


def _weights(bits: int, group: int = 0, **more: Any) -> dict[str, Any]:
    strategy = {"strategy": "group", "group_size": group} if group else {"strategy": "channel"}
    return {"num_bits": bits, "type": "int", "symmetric": True, **strategy, **more}


_GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": False, "sym": False}
_DYNAMIC = {
    **_GPTQ,
    "group_size": 32,
    "dynamic": {r"+:.*\.down_proj.*": {"bits": 8, "group_size": 64}, r"-:.*\.0\..*": {}},
}
_PACKED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]}


def _one(weights: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**_PACKED, "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}}, **more}


def _dynamic(name: str, weight: Tensor) -> Made | None:
    if _first(name):
        return None
    return gptq(weight, 8, 64) if _down(name) else gptq(weight, 4, 32)


def _two(name: str, weight: Tensor) -> Made:
    return compressed(weight, 8) if _down(name) else compressed(weight, 4, 32, even=False)


KINDS: dict[str, Kind] = {
    "gptq, 4 bits": Kind(_GPTQ, lambda n, w: gptq(w)),
    "gptq, 4 bits, v2": Kind({**_GPTQ, "checkpoint_format": "gptq_v2"}, lambda n, w: gptq(w, later=True)),
    "gptq, 4 bits, symmetric": Kind({**_GPTQ, "sym": True}, lambda n, w: gptq(w, even=True)),
    "gptq, symmetric, v2 that is not stated": Kind({**_GPTQ, "sym": True}, lambda n, w: gptq(w, later=True, even=True)),
    "gptq, sym is not true": Kind({**_GPTQ, "sym": True}, lambda n, w: gptq(w)),
    "gptq, 8 bits": Kind({**_GPTQ, "bits": 8}, lambda n, w: gptq(w, 8)),
    "gptq, 3 bits": Kind({**_GPTQ, "bits": 3, "group_size": 32}, lambda n, w: gptq(w, 3, 32)),
    "gptq, dynamic": Kind(_DYNAMIC, _dynamic),
    "gptq, desc_act": Kind(
        {**_GPTQ, "group_size": 32, "desc_act": True}, lambda n, w: gptq(w, 4, 32, ordered=False), False
    ),
    "awq": Kind(
        {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}, lambda n, w: awq(w)
    ),
    "awq, not all": Kind(
        {
            "quant_method": "awq",
            "w_bit": 4,
            "q_group_size": 64,
            "version": "GEMM",
            "modules_to_not_convert": ["down_proj"],
        },
        lambda n, w: None if _down(n) else awq(w),
    ),
    "compressed, 4 bits in groups": Kind(_one(_weights(4, 64)), lambda n, w: compressed(w, 4, 64)),
    "compressed, with zero points": Kind(
        _one(_weights(4, 64, symmetric=False)), lambda n, w: compressed(w, 4, 64, False)
    ),
    "compressed, 4 bits an output": Kind(_one(_weights(4)), lambda n, w: compressed(w, 4)),
    "compressed, 8 bits an output": Kind(_one(_weights(8)), lambda n, w: compressed(w, 8)),
    "compressed, two groups": Kind(
        {
            **_PACKED,
            "format": "mixed-precision",
            "config_groups": {
                "group_0": {"targets": [r"re:.*down_proj$"], "weights": _weights(8), "format": "pack-quantized"},
                "group_1": {
                    "targets": ["Linear"],
                    "weights": _weights(4, 32, symmetric=False),
                    "format": "pack-quantized",
                },
            },
        },
        _two,
    ),
    "compressed, whole bytes": Kind(
        _one(_weights(8), format="int-quantized"), lambda n, w: compressed(w, 8, whole_bytes=True)
    ),
    "compressed, floats of 8 bits": Kind(
        _one({**_weights(8), "type": "float"}, format="float-quantized"), lambda n, w: fp8(w), False
    ),
    "nf4": Kind(
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, lambda n, w: nf4(w), False
    ),
    "nf4, stored as bfloat16": Kind(
        {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_storage": "bfloat16"},
        lambda n, w: in_bfloat16(nf4(w)),
        False,
    ),
    "int8": Kind({"quant_method": "bitsandbytes", "load_in_8bit": True}, lambda n, w: int8(w)),
    "fp8 in blocks": Kind(
        {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic"},
        lambda n, w: _renamed(fp8(w, 32)),
        False,
    ),
    "fp8, a scale a layer": Kind(
        {"quant_method": "fp8", "activation_scheme": "static"}, lambda n, w: fp8_layer(w), False
    ),
}


def _renamed(made: Made) -> Made:
    layer = {k.replace("weight_scale", "weight_scale_inv"): v for k, v in made[0].items()}
    return layer, made[1]


def write(path: Path, kind: Kind) -> dict[str, Tensor]:
    """A folder of the kind, and all weights of the network that it stands for."""
    source = language.stories()
    shutil.copytree(source, path, copy_function=shutil.copyfile)
    path.chmod(0o755)
    weights = {n: _widened(n, t.float()) for n, t in load_file(source / "model.safetensors").items()}
    tensors: dict[str, Tensor] = {}
    for name, weight in list(weights.items()):
        made = kind.write(name, weight) if name.endswith("_proj.weight") else None
        if made is None:
            tensors[name] = weight
            continue
        layer, weights[name] = made
        tensors |= {f"{name.removesuffix('.weight')}.{part}": t.contiguous() for part, t in layer.items()}
    (path / "model.safetensors").unlink()
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config |= {"intermediate_size": WIDE, "quantization_config": kind.config}
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return weights


def _widened(name: str, weight: Tensor) -> Tensor:
    if name.endswith(("gate_proj.weight", "up_proj.weight")):
        return torch.nn.functional.pad(weight, (0, 0, 0, WIDE - len(weight)))
    return torch.nn.functional.pad(weight, (0, WIDE - weight.shape[1])) if _down(name) else weight


def true_perplexity(weights: dict[str, Tensor], windows: list[list[int]]) -> float:
    """transformers' own network with these weights, over the second half of each window."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(language.stories(), intermediate_size=WIDE)
    network = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    network.load_state_dict(weights, strict=False)
    network.tie_weights()
    lost = []
    with torch.no_grad():
        for window in windows:
            scored = network(torch.tensor([window])).logits[0].double().log_softmax(-1)
            lost += [-scored[i, window[i + 1]].item() for i in range(len(window) // 2, len(window) - 1)]
    return math.exp(sum(lost) / len(lost))


def windows() -> list[list[int]]:
    """What `edgekit convert --eval TEXT --eval-windows 2` looks at."""
    from tokenizers import Tokenizer

    from edgekit.data.texts import read_texts, windows_of

    tokenizer = Tokenizer.from_file(str(language.stories() / "tokenizer.json"))
    return windows_of(read_texts(language.stories_text()), lambda t: tokenizer.encode(t).ids, 512, 2, "text")


def perplexities(path: Path, kind: Kind) -> dict[str, float]:
    """Of the true weights, the float package, and the one of the width that the folder has (none: 0)."""
    import edgekit

    weights = write(path / "model", kind)
    found = {"true": true_perplexity(weights, windows())}
    for name, precisions in (("fp32", ["fp32"]), ("own", [])):
        if name == "own" and not kind.kept:
            found[name] = 0.0
            continue
        (made,) = edgekit.convert(
            str(path / "model"),
            precisions=precisions,
            eval=language.stories_text(),
            eval_windows=2,
            out=path / "out",
            launches=0,
        )
        (found[name],) = (m.value for m in made.receipt.measurements if m.name == "perplexity")
    return found


def main() -> None:
    import tempfile

    print(f"{'folder':42} {'true weights':>12} {'fp32':>8} {'own width':>10}")
    for name, kind in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            seen = perplexities(Path(folder), kind)
        own = f"{seen['own']:10.4f}" if seen["own"] else "        -"
        print(f"{name:42} {seen['true']:12.4f} {seen['fp32']:8.4f} {own}", flush=True)


if __name__ == "__main__":
    main()
