"""BitNet b1.58 checkpoints as transformers writes them: packed ternary weights, or master weights that
are rounded as the model runs. transformers loads them in bfloat16 only; here they become float32."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgekit.errors import SourceError
from edgekit.layers.ternary import TernaryLinear, ternarised, unpacked
from edgekit.sources.assembly import Tensors, assemble, take
from edgekit.system.documents import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def network(folder: Path, config: PreTrainedConfig, settings: JsonObject) -> PreTrainedModel:
    """The transformers model, its rounded layers as TernaryLinear. `settings`: the folder's
    `quantization_config`. Raises SourceError when a tensor is missing or of another shape."""
    left_out = {"lm_head", *(settings.get("modules_to_not_convert") or ())}

    def replace(name: str, layer: nn.Module, tensors: Tensors) -> nn.Module | None:
        if not isinstance(layer, nn.Linear) or name in left_out or name.rpartition(".")[2] in left_out:
            return None
        return _ternary(name, layer, tensors, settings)

    model = assemble(folder, config, replace)
    _move_sub_norms(model)
    return model


def _ternary(name: str, layer: nn.Linear, tensors: Tensors, settings: JsonObject) -> TernaryLinear:
    stored = take(tensors, f"{name}.weight")
    scale, bias = tensors.pop(f"{name}.weight_scale", None), tensors.pop(f"{name}.bias", None)
    if stored.dtype == torch.uint8:
        if scale is None:
            scale = take(tensors, f"{name}.weight_scale")
        if tuple(stored.shape) != (-(-layer.out_features // 4), layer.in_features) or scale.numel() != 1:
            raise _misfit(name, layer, stored)
        weight, value = unpacked(stored)[: layer.out_features], _scale(name, scale)
        # transformers' BitLinear divides by what it stores, AutoBitLinear multiplies
        value = value if settings.get("linear_class", "bitlinear") == "autobitlinear" else 1 / value
    elif settings.get("quantization_mode", "online") == "offline" and scale is not None:
        whole = stored.float().round().clamp(-1, 1)
        if not torch.equal(whole, stored.float()):  # the library would compute with them as they are
            raise _misfit(name, layer, stored)
        weight, value = whole.to(torch.int8), _scale(name, scale)
    else:
        weight, value = ternarised(stored)
    if tuple(weight.shape) != (layer.out_features, layer.in_features) or int(weight.max()) > 1:
        raise _misfit(name, layer, stored)
    linear = TernaryLinear(weight, value, None if bias is None else bias.float())
    norm = tensors.get(f"{name}.rms_norm.weight")
    if settings.get("use_rms_norm") and norm is not None:
        linear.norm = nn.RMSNorm(layer.in_features, eps=settings.get("rms_norm_eps", 1e-6))
        tensors[f"{name}.norm.weight"] = tensors.pop(f"{name}.rms_norm.weight")
    return linear


def _scale(name: str, stored: torch.Tensor) -> float:
    """The scale of a layer. Raises SourceError for a value that no scale can have."""
    value = float(stored.float().flatten()[0]) if stored.numel() == 1 else math.nan
    if not 0 < value < math.inf:
        content = f"{value:g}" if stored.numel() == 1 else f"of {tuple(stored.shape)}"
        raise SourceError(
            f"{name}.weight_scale is no scale of a layer",
            f"it is {content}, and one number above 0 was expected",
            "download or copy the checkpoint again",
        )
    return value


def _misfit(name: str, layer: nn.Linear, stored: torch.Tensor) -> SourceError:
    return SourceError(
        f"{name}.weight is no ternary weight of {layer.out_features}x{layer.in_features}",
        f"it is {tuple(stored.shape)} of {stored.dtype}",
        "check that config.json and the weights belong together",
    )


def _move_sub_norms(model: nn.Module) -> None:
    """Moves each of BitNet's sub-norms into the rounded layer that follows it."""
    for module in model.modules():
        for norm, layer in (("attn_sub_norm", "o_proj"), ("ffn_sub_norm", "down_proj")):
            if isinstance(getattr(module, norm, None), nn.Module):
                getattr(module, layer).norm = getattr(module, norm)
                setattr(module, norm, nn.Identity())
