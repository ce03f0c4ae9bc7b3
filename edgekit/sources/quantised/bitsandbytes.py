"""bitsandbytes: NF4 and FP4, whose levels are a table, with scales that may be quantised themselves; and
8 bits with a scale for each output (LLM.int8())."""

from __future__ import annotations

import torch
from torch import Tensor

from edgekit.errors import SourceError
from edgekit.sources.quantised.layer import FLOATS, Floats, Integers, Parts
from edgekit.sources.quantised.stated import Stated
from edgekit.system.documents import DocumentError, JsonObject, parse_json

_LARGEST = 2**16  # bytes of the settings that each layer stores
_STATES = ("nf4", "fp4")


def check(stated: Stated) -> None:
    """Accepts every config: every setting that matters is among the tensors."""


def read(stated: Stated, parts: Parts) -> Integers | Floats | None:
    if parts.has("SCB"):
        return _int8(stated, parts)
    if not parts.has("weight.absmax"):
        return None
    kind = next((k for k in _STATES if parts.has(f"weight.quant_state.bitsandbytes__{k}")), "")
    if not kind:
        raise stated.unread(f"{parts.name}.weight has scales, and none of the settings of {' or '.join(_STATES)}")
    return _table(parts, _settings(parts, f"weight.quant_state.bitsandbytes__{kind}"), kind)


def _int8(stated: Stated, parts: Parts) -> Integers:
    stored = parts.take("weight", (parts.rows, parts.columns), (torch.int8,))
    scales = parts.take("SCB", (parts.rows,), FLOATS).float()[:, None] / 127
    if parts.has("weight_format"):
        layout = parts.take("weight_format", None, (torch.uint8, torch.int8, torch.int32, torch.int64))
        if bool(layout.any()):  # 0: rows; others are those of one kernel
            raise stated.unread(f"{parts.name}.weight is ordered for a kernel, format {layout.flatten().tolist()[:4]}")
    values = (stored.int() + 128).to(torch.uint8)
    zeros = torch.full_like(scales, 128, dtype=torch.int32)
    return Integers(values, scales, zeros, 8, parts.columns)


def _table(parts: Parts, facts: JsonObject, kind: str) -> Floats:
    count = parts.rows * parts.columns
    if facts.get("shape") != [parts.rows, parts.columns]:
        raise parts.misfit("weight", f"a weight of {facts.get('shape')}, by its own settings,")
    size = _whole(parts, facts, "blocksize")
    stored = parts.look("weight").contiguous()
    if stored.numel() * stored.element_size() != -(-count // 2):  # any type may hold the bytes
        raise parts.misfit("weight", f"uint8 of {(-(-count // 2), 1)}")
    stored = stored.flatten().view(torch.uint8)
    parts.drop("weight")  # not taken: its bytes may read as numbers that are none
    levels = parts.take("weight.quant_map", (16,), FLOATS).float()
    blocks = -(-count // size)
    if parts.has("weight.nested_absmax"):
        codes = parts.take("weight.absmax", (blocks,), (torch.uint8,))
        inner = _whole(parts, facts, "nested_blocksize")
        nested = parts.take("weight.nested_absmax", (-(-blocks // inner),), FLOATS).float()
        table = parts.take("weight.nested_quant_map", (256,), FLOATS).float()
        offset = facts.get("nested_offset")
        if not isinstance(offset, (int, float)) or isinstance(offset, bool):
            raise _malformed(parts, f"nested_offset {ascii(offset)[:40]}")
        scale = table[codes.long()] * nested.repeat_interleave(inner)[:blocks] + offset
    else:
        scale = parts.take("weight.absmax", (blocks,), FLOATS).float()
    values = levels[torch.stack([stored >> 4, stored & 15], 1).flatten().long()][:count]
    values = values * scale.repeat_interleave(size)[:count]
    return Floats(values.reshape(parts.rows, parts.columns), f"{kind.upper()}'s levels are no even steps")


def _settings(parts: Parts, part: str) -> JsonObject:
    raw: Tensor = parts.take(part, None, (torch.uint8,))
    try:
        if raw.numel() > _LARGEST:
            raise DocumentError(f"it is larger than {_LARGEST} bytes")
        facts = parse_json(bytes(raw.flatten().tolist()))
        if not isinstance(facts, dict):
            raise DocumentError("it holds no JSON object")
    except DocumentError as error:
        raise _malformed(parts, str(error)) from error
    return facts


def _whole(parts: Parts, facts: JsonObject, key: str) -> int:
    value = facts.get(key)
    if type(value) is not int or not 0 < value <= 2**20:
        raise _malformed(parts, f"{key} {ascii(value)[:40]}")
    return value


def _malformed(parts: Parts, why: str) -> SourceError:
    return SourceError(f"The settings of {parts.name} are malformed", why, "download or copy the checkpoint again")
