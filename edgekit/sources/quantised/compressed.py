"""compressed-tensors, as llm-compressor writes it for vLLM: integers packed along the inputs or one a byte,
or floats of 8 bits, with a scale for the layer, each output, each group of inputs, or each block.

    weight_packed int32 (N, ⌈K·bits/32⌉), stored unsigned   or   weight int8 or float8_e4m3fn (N, K)
    weight_scale (1,), (N, 1), (N, groups) or (⌈N/rows⌉, ⌈K/columns⌉)
    weight_zero_point int8, or int32 packed along the outputs   weight_g_idx (K,)   weight_shape (2,)
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.sources.quantised import blocks
from edgekit.sources.quantised.layer import FLOATS, Floats, Integers, Parts, padded_unpacked, unpacked, word_count
from edgekit.sources.quantised.stated import Stated
from edgekit.system.documents import JsonObject

_PLAIN = ("dense", "fakequant")
_FORMATS = ("pack-quantized", "int-quantized", "float-quantized", "naive-quantized", "mixed-precision", *_PLAIN)
_MOST = 8  # bits
_CACHE = ("k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point")


def check(stated: Stated) -> None:
    """Raises SourceError for weights that are sparse, rotated, or in a format for other hardware."""
    settings = stated.settings
    for key in ("sparsity_config", "sparsity"):
        sparse = settings.get(key) or {}
        layout = sparse.get("format", "") if isinstance(sparse, dict) else str(sparse)
        if layout not in ("", "dense"):
            raise stated.unread(f"with sparse weights, {ascii(layout)[:40]}")
    if settings.get("transform_config"):
        raise stated.unread("with rotated weights, whose rotation runs beside the network (transform_config)")
    groups = settings.get("config_groups")
    if not isinstance(groups, dict) or not groups:
        raise stated.unread("without config_groups")
    for name, group in groups.items():
        if not isinstance(group, dict):
            raise stated.unread(f"config group {ascii(name)[:40]} is {ascii(group)[:60]}")
        layout = str(group.get("format") or settings.get("format") or _PLAIN[0])
        if layout not in _FORMATS:
            raise stated.unread(f"format {ascii(layout)[:40]}")


def widths(stated: Stated) -> set[int]:
    return {w["num_bits"] for w in _weights(stated) if type(w.get("num_bits")) is int} or {8}


def rounds_inputs(stated: Stated) -> bool:
    """Whether the checkpoint's own runtime would also round the inputs of layers."""
    groups = stated.settings["config_groups"].values()
    return any(g.get("input_activations") for g in groups)


def read(stated: Stated, parts: Parts) -> Integers | Floats | None:
    parts.drop("input_scale", "input_zero_point", "output_scale", "output_zero_point", *_CACHE)
    if not parts.has("weight_scale") and not parts.has("weight_packed"):
        return None
    if parts.has("weight_packed"):
        values, bits, whole = _packed(stated, parts)
    else:
        kind = parts.look("weight").dtype
        if kind == torch.float8_e4m3fn:
            return _floats(stated, parts)
        if kind in FLOATS:
            raise stated.unread(f"{parts.name}.weight is {kind} with a scale, to be rounded as the model runs")
        stored = parts.take("weight", (parts.rows, parts.columns), (torch.int8,)).int()
        bits, whole = (4 if widths(stated) <= {1, 2, 3, 4} else 8, False)  # whole bytes hold what has fewer bits
        if int(stored.min()) < -(2 ** (bits - 1)) or int(stored.max()) >= 2 ** (bits - 1):
            raise stated.unread(f"its config says {bits} bits, and {parts.name}.weight holds more")
        values = (stored + 2 ** (bits - 1)).to(torch.uint8)
    shift = 2 ** (bits - 1)
    if _is_block(stated, parts):
        return _blocks_of_integers(stated, parts, values, shift)
    scales = _scales(parts)
    zeros = _zeros(stated, parts, scales.shape, bits, whole)
    groups = scales.shape[1]
    sizes = [s for w in _weights(stated) if type(s := w.get("group_size")) is int and s > 0]
    dealt = all(w.get("actorder") in ("group", "dynamic") for w in _weights(stated))
    group, order = parts.order("weight_g_idx", groups, sizes if groups > 1 else [*sizes, -1], dealt)
    scales = scales.expand(parts.rows, -1).contiguous()
    zeros = zeros.expand(parts.rows, -1).contiguous()
    return Integers(values, scales, zeros, bits, group, order)


def _packed(stated: Stated, parts: Parts) -> tuple[Tensor, int, bool]:
    """uint8 (N, K), their width, and whether words hold whole values only."""
    if parts.has("weight_shape"):
        shape = parts.take("weight_shape", (2,), (torch.int64, torch.int32)).tolist()
        if shape != [parts.rows, parts.columns]:
            raise parts.misfit("weight_packed", f"a weight of {shape}, by its own weight_shape,")
    if all(w.get("type") == "float" for w in _weights(stated)):
        raise stated.unread(f"its config says floats, and {parts.name}.weight_packed is of integers")
    packed = parts.look("weight_packed")
    count = packed.shape[1] if packed.dim() == 2 else 0
    bits, whole = _width(stated, parts, count)
    words = parts.take("weight_packed", (parts.rows, count))
    return (padded_unpacked if whole else unpacked)(words, bits, parts.columns), bits, whole


def _width(stated: Stated, parts: Parts, count: int) -> tuple[int, bool]:
    """The width that the number of words implies, among those in the config, and whether words hold whole values
    only, as they did before version 0.13."""
    columns = parts.columns
    candidates = [(b, False) for b in range(1, _MOST + 1) if count == word_count(columns, b)]
    candidates += [(b, True) for b in range(1, _MOST + 1) if 32 % b and count == -(-columns // (32 // b))]
    named = [f for f in candidates if f[0] in widths(stated)]
    if len(named) == 1:
        return named[0]
    if named:
        raise stated.unread(f"{parts.name}.weight_packed may be packed in {len(named)} ways")
    stated_widths = sorted(widths(stated))
    if candidates:
        raise stated.unread(
            f"its config says {', '.join(map(str, stated_widths))} bits, and {parts.name}.weight_packed holds {candidates[0][0]}"
        )
    expected = " or ".join(str((parts.rows, word_count(columns, b))) for b in stated_widths)
    raise parts.misfit("weight_packed", f"int32 of {expected}")


def _zeros(stated: Stated, parts: Parts, shape: torch.Size, bits: int, whole: bool) -> Tensor:
    """int32 (1 or N, groups). Zero points among the tensors take precedence over the config."""
    shift = 2 ** (bits - 1)
    if not parts.has("weight_zero_point"):
        if all(w.get("symmetric") is False for w in _weights(stated)):
            parts.look("weight_zero_point")  # which says that it is missing
        return torch.full(tuple(shape), shift, dtype=torch.int32)
    zeros = parts.look("weight_zero_point")
    if zeros.dtype == torch.int32 and zeros.dim() == 2:  # packed along the outputs
        count = -(-shape[0] // (32 // bits)) if whole else word_count(shape[0], bits)
        words = parts.take("weight_zero_point", (count, shape[1])).T
        return (padded_unpacked if whole else unpacked)(words, bits, shape[0]).int().T
    if zeros.numel() != shape.numel():
        raise parts.misfit("weight_zero_point", f"int8 of {tuple(shape)}")
    kinds = (torch.int8, torch.int16, torch.int32, torch.int64, *FLOATS)
    return parts.take("weight_zero_point", tuple(zeros.shape), kinds).reshape(shape).int() + shift


def _floats(stated: Stated, parts: Parts) -> Floats:
    weight = parts.take("weight", (parts.rows, parts.columns), (torch.float8_e4m3fn,)).float()
    if parts.has("weight_zero_point"):
        zeros = parts.take("weight_zero_point", None, (torch.int8, torch.int32, torch.float8_e4m3fn, *FLOATS))
        if bool(zeros.float().any()):
            raise stated.unread(f"{parts.name}.weight is of floats, and has zero points")
    if _is_block(stated, parts):
        size = _block(stated, parts)
        scale = blocks.spread(parts.take("weight_scale", None, FLOATS), size, weight.shape)
        return Floats(weight * scale, blocks.WHY)
    scale = _scales(parts)
    if parts.columns % scale.shape[1]:
        raise stated.unread(f"{parts.name} has {scale.shape[1]} scales for {parts.columns} inputs")
    return Floats(weight * scale.repeat_interleave(parts.columns // scale.shape[1], 1), blocks.WHY)


def _scales(parts: Parts) -> Tensor:
    """float32 (1 or N, groups)."""
    scales = parts.look("weight_scale")
    shape = (1, 1) if scales.numel() == 1 else tuple(scales.shape) if scales.dim() == 2 else (len(scales), 1)
    if scales.dim() > 2 or (shape[0] != parts.rows and shape != (1, 1)):
        raise parts.misfit("weight_scale", f"(1,), {(parts.rows, 1)} or a scale for each group of inputs")
    return parts.take("weight_scale", tuple(scales.shape), FLOATS).float().reshape(shape)


def _blocks_of_integers(stated: Stated, parts: Parts, values: Tensor, shift: int) -> Floats:
    size = _block(stated, parts)
    scale = parts.take("weight_scale", None, FLOATS)
    zeros = torch.full_like(scale, shift, dtype=torch.float32)
    if parts.has("weight_zero_point"):
        zeros = parts.take("weight_zero_point", tuple(scale.shape), (torch.int8,)).float() + shift
    spread = [blocks.spread(v, size, values.shape) for v in (zeros, scale)]
    return Floats((values.float() - spread[0]) * spread[1], "their scales are of blocks of outputs and inputs")


def _is_block(stated: Stated, parts: Parts) -> bool:
    """Whether the scales belong to blocks; only the config distinguishes them from scales of outputs."""
    scale, kinds = parts.look("weight_scale"), {w.get("strategy") for w in _weights(stated)}
    if scale.dim() != 2 or "block" not in kinds:
        return False
    return kinds == {"block"} or not (scale.shape[0] in (1, parts.rows) and scale.shape[1] == 1)


def _block(stated: Stated, parts: Parts) -> tuple[int, int]:
    return blocks.size_of([w.get("block_structure") for w in _weights(stated)], parts, "weight_scale")


def _weights(stated: Stated) -> list[JsonObject]:
    """The settings of weights in each group of the config."""
    groups = stated.settings["config_groups"].values()
    return [w for g in groups if isinstance(w := g.get("weights"), dict)]
