"""What a folder says of its quantisation: which method, and its settings."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import SourceError
from edgekit.sources.files import contained, json_of
from edgekit.system.documents import JsonObject

_METHODS = ("gptq", "awq", "compressed-tensors", "bitsandbytes", "fp8", "bitnet")
_ALIASES = {
    "gptqmodel": "gptq",
    "bitsandbytes_4bit": "bitsandbytes",
    "bitsandbytes_8bit": "bitsandbytes",
    "compressed_tensors": "compressed-tensors",
}
# Beside config.json, as AutoGPTQ and llm-awq wrote them before it had a place for it.
SIDECARS = {"quantize_config.json": "gptq", "quant_config.json": "awq"}
_CONFIGS = ("quantization_config", "compression_config")
_FLOATS = ("F16", "BF16", "F32", "F64")


@dataclass(frozen=True)
class Stated:
    """`settings`: as the folder has them; `name`: of the model, for errors."""

    method: str
    settings: JsonObject
    name: str

    def unread(self, what: str) -> SourceError:
        """The error for a layout that no file of this room reads."""
        return SourceError(
            f"{self.name} is quantised in a way edgekit does not read",
            f"{self.method}, {what}",
            "take the float original of the model",
        )


def stated(folder: Path, config: JsonObject, tensors: Collection[str]) -> Stated | None:
    """`config`: the folder's config.json; `tensors`: names in its checkpoint. None for a float model.

    Raises SourceError for a method that is not known.
    """
    if isinstance(config.get("quantization"), dict) and any(t.endswith(".biases") for t in tensors):
        raise SourceError(
            f"{folder.name} is quantised by a method edgekit does not read",
            "it is MLX's, for Apple's chips",
            "take the float original of the model",
        )
    settings = next((config[k] for k in _CONFIGS if config.get(k)), None)
    if settings is None:
        return _beside(folder, tensors)
    if not isinstance(settings, dict):
        raise SourceError(
            f"The config.json of {folder.name} is malformed",
            f"its quantization_config is {ascii(settings)[:80]}",
            "copy it again",
        )
    method = str(settings.get("quant_method") or _older_method(settings)).lower()
    method = _ALIASES.get(method, method)
    if method not in _METHODS:
        raise SourceError(
            f"{folder.name} is quantised by a method edgekit does not read",
            f"its config.json says quant_method {ascii(method)[:60]}; {', '.join(_METHODS)} are read",
            "take the float original of the model",
        )
    return Stated(method, settings, folder.name)


def check_floats(types: dict[str, str], name: str) -> None:
    """For a folder that says nothing of a quantisation. Raises SourceError where a weight is no float all
    the same: libraries would take the integers for weights. `types`: safetensors' name for each tensor's."""
    for tensor, kind in types.items():
        if tensor.endswith(("weight", "weight_packed")) and kind not in _FLOATS:
            raise SourceError(
                f"{name} holds integers, and does not say what they stand for",
                f"{tensor[:120]} is of {kind}, and its config.json has no quantization_config",
                "copy its config.json again, or take the float original of the model",
            )


def _beside(folder: Path, tensors: Collection[str]) -> Stated | None:
    if not any(t.endswith(".qweight") for t in tensors):
        return None
    for file, method in SIDECARS.items():
        if (folder / file).is_file():
            return Stated(method, json_of(contained(folder, file), 2**20), folder.name)
    raise SourceError(
        f"{folder.name} is quantised, and does not say how",
        f"it has qweight tensors, and neither a quantization_config nor {' or '.join(SIDECARS)}",
        "copy its config.json again, or take the float original of the model",
    )


def _older_method(settings: JsonObject) -> str:
    """The method of configs from before `quant_method`."""
    if "config_groups" in settings:
        return "compressed-tensors"
    return "bitsandbytes" if settings.get("load_in_4bit") or settings.get("load_in_8bit") else ""
