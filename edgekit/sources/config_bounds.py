"""What a config.json may say, measured by the weights beside it: numbers that no tensor backs would make
libraries build networks for hours before anything is compared."""

from __future__ import annotations

import json
from pathlib import Path

from edgekit.errors import SourceError
from edgekit.system.documents import JsonObject

_POSITIONS = 2**26
_PACKED = 32  # values that one stored element may hold: two bits in 64
_LAYERS = ("num_hidden_layers", "num_layers", "n_layer", "n_layers")
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "vocab_size",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "n_embd",
    "n_head",
    "moe_intermediate_size",
    "num_experts",
    "num_local_experts",
)
_HEADER = 100 * 2**20  # bytes, as safetensors itself has it


def check_bounds(config: JsonObject, shards: list[Path], name: str) -> None:
    """Raises SourceError for layers and sizes beyond what the weights hold."""
    tensors, elements = 0, 0
    for shard in shards:
        count, held = _stored(shard)
        tensors, elements = tensors + count, elements + held
    for part in (config, *(v for k, v in config.items() if k == "text_config" and isinstance(v, dict))):
        limits = {
            **dict.fromkeys(_LAYERS, tensors),
            **dict.fromkeys(_SIZES, _PACKED * elements),
            "max_position_embeddings": _POSITIONS,
        }
        for key, limit in limits.items():
            value = part.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
                raise SourceError(
                    f"The config.json of {name} says {key} {ascii(value)[:40]}",
                    f"its weights are {tensors} tensors of {elements} elements in all",
                    "check that config.json and the weights belong together",
                )
        rows, width = part.get("vocab_size"), part.get("hidden_size")
        if isinstance(rows, int) and isinstance(width, int) and rows * width > _PACKED * elements:
            raise SourceError(
                f"The config.json of {name} says vocab_size {rows} and hidden_size {width}",
                f"its weights hold {elements} elements in all",
                "check that config.json and the weights belong together",
            )


def _stored(shard: Path) -> tuple[int, int]:
    """The number of tensors and of elements in a safetensors file. There is at most one element a byte; the
    file's reader reports later what is wrong."""
    with shard.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > min(_HEADER, shard.stat().st_size):
            return 0, 0
        try:
            header = json.loads(file.read(size))
        except (ValueError, RecursionError):
            return 0, 0
    count = len(header) if isinstance(header, dict) else 0
    return count, shard.stat().st_size
