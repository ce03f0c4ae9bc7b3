"""How a GGUF file says that positions are rotated: as numbers in its metadata, or as factors in a tensor."""

from __future__ import annotations

import math

import numpy as np

from edgekit.errors import SourceError
from edgekit.sources.gguf_blocks import values
from edgekit.sources.gguf_header import Array, GgufFile
from edgekit.system.documents import JsonObject

FACTORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
_LLAMA3_LENGTHS = (8192, 4096, 16384, 32768, 2048)
_CLOSE = 1e-4


def rope_settings(file: GgufFile, kind: str, settings: JsonObject) -> JsonObject:
    """`rope_theta`, and `rope_scaling` where positions are scaled, for a transformers config.

    Raises SourceError for a way of scaling that edgekit does not know.
    """
    theta = _number(file, "rope.freq_base") or 10000.0
    rope: JsonObject = {"rope_theta": theta}
    size, turned = settings["head_dim"], _number(file, "rope.dimension_count")
    if turned and turned != size:
        if kind != "phi3" or not 0 < turned < size:
            raise _unknown(file, f"{int(turned)} of the {size} numbers of a head are rotated")
        rope["partial_rotary_factor"] = turned / size
    scaling = _of_factors(file, kind, theta, settings) or _of_numbers(file)
    if kind == "phi3":
        rope["original_max_position_embeddings"] = int(
            _number(file, "rope.scaling.original_context_length") or settings["max_position_embeddings"]
        )
    if kind == "gemma3_text":
        rope["rope_local_base_freq"] = _number(file, "rope.freq_base_swa") or 10000.0
    if scaling:
        rope["rope_scaling"] = scaling
    return rope


def _of_numbers(file: GgufFile) -> JsonObject | None:
    kind = file.metadata.get(f"{file.metadata['general.architecture']}.rope.scaling.type", "none")
    factor = _number(file, "rope.scaling.factor")
    if kind == "none":
        linear = factor or _number(file, "rope.scale_linear")
        return {"rope_type": "linear", "factor": linear} if linear and linear != 1 else None
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor} if factor and factor != 1 else None
    if kind == "yarn" and factor:
        trained = _number(file, "rope.scaling.original_context_length")
        known = {"type", "factor", "original_context_length", "finetuned", "yarn_ext_factor", "yarn_attn_factor"}
        prefix = f"{file.metadata['general.architecture']}.rope.scaling."
        other = [k for k in file.metadata if k.startswith(prefix) and k[len(prefix) :] not in known]
        plain = all((_number(file, f"rope.scaling.yarn_{n}_factor") or 1) == 1 for n in ("ext", "attn"))
        if trained and plain and not other:
            return {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": int(trained)}
    raise _unknown(file, f"its rope.scaling.type is {str(kind)[:40]!r}, with numbers that are missing or unknown")


def _of_factors(file: GgufFile, kind: str, theta: float, settings: JsonObject) -> JsonObject | None:
    present = [n for n in FACTORS if n in file.tensors]
    if not present:
        return None
    if present == [FACTORS[0]] and kind == "llama":
        return _llama3(file, theta, settings["head_dim"])
    if present == list(FACTORS[1:]) and kind == "phi3":
        long, short = (values(file.tensors[n]).ravel().astype(float).tolist() for n in present)
        return {"rope_type": "longrope", "long_factor": long, "short_factor": short}
    raise _unknown(file, f"a {kind} model with {' and '.join(present)}")


def _llama3(file: GgufFile, theta: float, size: int) -> JsonObject | None:
    """The settings whose factors equal `rope_freqs.weight`, since the file holds only the result."""
    stored = values(file.tensors[FACTORS[0]]).ravel()
    factor = float(stored.max())
    if factor == 1 and stored.min() == 1:
        return None
    stated = _number(file, "rope.scaling.original_context_length")
    for length in (*((int(stated),) if stated else ()), *_LLAMA3_LENGTHS):
        factors = llama3_factors(theta, size, factor, 1.0, 4.0, length)
        if factors.shape == stored.shape and np.allclose(factors, stored, rtol=_CLOSE, atol=0):
            return {
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": length,
            }
    raise _unknown(file, f"{FACTORS[0]} does not hold the factors of a Llama 3")


def llama3_factors(theta: float, size: int, factor: float, low: float, high: float, length: int) -> Array:
    """What llama.cpp's converter writes as `rope_freqs.weight` for a Llama 3."""
    waves = 2 * math.pi * theta ** (np.arange(0, size, 2, dtype=np.float64) / size)
    smooth = (length / waves - low) / (high - low)
    between = 1 / ((1 - smooth) / factor + smooth)
    return np.where(waves < length / high, 1.0, np.where(waves > length / low, factor, between))


def _number(file: GgufFile, key: str) -> float | None:
    value = file.metadata.get(f"{file.metadata['general.architecture']}.{key}")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 2**40:
        raise SourceError(f"{file.name} is damaged", f"its {key} is {str(value)[:60]}", "download or copy it again")
    return float(value)


def _unknown(file: GgufFile, why: str) -> SourceError:
    return SourceError(
        f"{file.name} rotates positions in a way edgekit does not know",
        why,
        "convert the folder the model was published in on Hugging Face instead",
    )
