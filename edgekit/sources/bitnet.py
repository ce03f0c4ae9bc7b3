"""BitNet b1.58 checkpoints as transformers writes them: packed ternary weights, or master weights that
are rounded as the model runs. transformers loads them in bfloat16 only; here they become float32."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.errors import SourceError
from edgekit.layers.ternary import TernaryLinear, ternarised, unpacked


def is_bitnet(config: Any) -> bool:
    return _stated(config).get("quant_method") == "bitnet" or config.model_type == "bitnet"


def network(folder: Path, config: Any) -> Any:
    """The transformers model in float32, its rounded layers as TernaryLinear. Raises SourceError when a
    tensor is missing or of another shape."""
    from transformers import AutoModelForCausalLM

    stated = _stated(config)
    plain = type(config).from_dict(
        {k: v for k, v in config.to_dict().items() if k != "quantization_config"}
    )
    plain._attn_implementation = "eager"
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(plain, dtype=torch.float32)
    tensors = dict(_tensors(folder))
    left_out = {"lm_head", *(stated.get("modules_to_not_convert") or ())}
    for name, layer in list(model.named_modules()):
        if (
            isinstance(layer, nn.Linear)
            and name.rpartition(".")[2] not in left_out
            and name not in left_out
        ):
            model.set_submodule(name, _ternary(name, layer, tensors, stated, config))
    model.to_empty(device="cpu")
    _restore(model, tensors, plain)
    _move_sub_norms(model)
    return model


def _stated(config: Any) -> dict[str, Any]:
    found = getattr(config, "quantization_config", None) or {}
    return found if isinstance(found, dict) else found.to_dict()


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    index = folder / "model.safetensors.index.json"
    names = (
        sorted(set(json.loads(index.read_text())["weight_map"].values()))
        if index.is_file()
        else ["model.safetensors"]
    )
    for file in names:
        with safe_open(str(folder / file), "pt") as archive:
            for name in archive.keys():  # noqa: SIM118 (not a dictionary)
                yield name, archive.get_tensor(name)


def _ternary(
    name: str, layer: nn.Linear, tensors: dict[str, torch.Tensor], stated: dict[str, Any], config: Any
) -> TernaryLinear:
    stored = tensors.pop(f"{name}.weight", None)
    if stored is None:
        raise SourceError(f"The checkpoint lacks {name}.weight", "", "download or copy it again")
    scale = tensors.pop(f"{name}.weight_scale", None)
    bias = tensors.pop(f"{name}.bias", None)
    if stored.dtype == torch.uint8:
        if scale is None:
            raise SourceError(
                f"The checkpoint lacks {name}.weight_scale", "", "download or copy it again"
            )
        weight, value = unpacked(stored), float(scale.float().flatten()[0])
        # transformers' BitLinear divides by what it stores, AutoBitLinear multiplies
        value = value if stated.get("linear_class", "bitlinear") == "autobitlinear" else 1 / value
        weight = weight[: layer.out_features]
    elif stated.get("quantization_mode", "online") == "offline" and scale is not None:
        weight, value = (
            stored.float().round().clamp(-1, 1).to(torch.int8),
            float(scale.float().flatten()[0]),
        )
    else:
        weight, value = ternarised(stored)
    if tuple(weight.shape) != (layer.out_features, layer.in_features) or int(weight.max()) > 1:
        raise SourceError(
            f"{name}.weight is no ternary weight of {layer.out_features}x{layer.in_features}",
            f"it is {tuple(stored.shape)} of {stored.dtype}",
        )
    made = TernaryLinear(weight, value, None if bias is None else bias.float())
    norm = tensors.pop(f"{name}.rms_norm.weight", None)
    if stated.get("use_rms_norm") and norm is not None:
        made.norm = nn.RMSNorm(layer.in_features, eps=stated.get("rms_norm_eps", 1e-6))
        made.norm.weight = nn.Parameter(norm.float())
    return made


def _restore(model: Any, tensors: dict[str, torch.Tensor], config: Any) -> None:
    """Everything that is not ternary, strictly. Buffers are computed again: a model made without memory
    has none."""
    fresh = type(model)._from_config(_small(config), dtype=torch.float32)
    for name, buffer in fresh.named_buffers():
        owner, _, own = name.rpartition(".")
        model.get_submodule(owner).register_buffer(own, buffer.clone(), persistent=False)
    wanted = {n for n, _ in model.named_parameters() if ".norm.weight" not in n or n in tensors}
    state = {n: t.float() for n, t in tensors.items() if n in wanted}
    missing = wanted - state.keys() - {"lm_head.weight"}
    untied = not config.tie_word_embeddings and "lm_head.weight" not in state
    if missing or untied:
        raise SourceError(
            f"The checkpoint lacks {sorted(missing)[0] if missing else 'lm_head.weight'}", "",
            "download or copy it again",
        )  # fmt: skip
    model.load_state_dict(state, strict=False, assign=True)
    model.tie_weights()


def _small(config: Any) -> Any:
    """The same config with next to no weights: its buffers (rotary frequencies) are those of the whole."""
    return type(config).from_dict(
        {**config.to_dict(), "num_hidden_layers": 1, "vocab_size": 8, "intermediate_size": 8}
    )


def _move_sub_norms(model: Any) -> None:
    """BitNet's sub-norms come right before a rounded layer: they become part of it."""
    for module in model.modules():
        for norm, layer in (("attn_sub_norm", "o_proj"), ("ffn_sub_norm", "down_proj")):
            if isinstance(getattr(module, norm, None), nn.Module):
                getattr(module, layer).norm = getattr(module, norm)
                setattr(module, norm, nn.Identity())
