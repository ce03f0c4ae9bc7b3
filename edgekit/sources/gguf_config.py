"""The transformers config that a GGUF file's metadata describes.

The names come from transformers' own table. What that table leaves out, although the models compute
with it, is read here: otherwise a default of the config class would stand for it without a word.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import SourceError
from edgekit.sources.gguf_header import GgufFile
from edgekit.sources.gguf_rope import rope_settings
from edgekit.system.documents import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_LARGEST = 2**31
_MOST_LAYERS = 1024


@dataclass(frozen=True)
class Family:
    """`kind`: transformers' model_type. `like`: whose table and whose treatment of tensors it shares."""

    kind: str
    like: str
    required: tuple[tuple[str, str], ...] = ()  # (key of the metadata, name in the config)
    optional: tuple[tuple[str, str], ...] = ()


_CAPS = (("attn_logit_softcapping", "attn_logit_softcapping"), ("final_logit_softcapping", "final_logit_softcapping"))
FAMILIES = {
    "llama": Family("llama", "llama"),
    "qwen2": Family("qwen2", "qwen2"),
    "qwen3": Family("qwen3", "qwen3"),
    "gemma": Family("gemma", "gemma2"),
    "gemma2": Family("gemma2", "gemma2", _CAPS),
    "gemma3": Family("gemma3_text", "gemma3", (), _CAPS[1:]),
    "phi3": Family("phi3", "phi3", (), (("attention.sliding_window", "sliding_window"),)),
    "smollm3": Family("smollm3", "llama"),
    "granite": Family(
        "granite",
        "llama",
        (
            ("attention.scale", "attention_multiplier"),
            ("embedding_scale", "embedding_multiplier"),
            ("residual_scale", "residual_multiplier"),
            ("logit_scale", "logits_scaling"),
        ),
    ),
}
_INTEGERS = {
    "max_position_embeddings",
    "num_hidden_layers",
    "intermediate_size",
    "hidden_size",
    "head_dim",
    "num_attention_heads",
    "num_key_value_heads",
    "sliding_window",
}
# Stated by every converter, and of no effect on what is computed here or read elsewhere.
_KNOWN = {
    "vocab_size",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "attention.sliding_window_pattern",
    "attention.causal",
}


def read_family(file: GgufFile) -> Family:
    """Raises SourceError for an architecture edgekit does not know."""
    name = file.metadata.get("general.architecture")
    if name not in FAMILIES:
        raise SourceError(
            f"{file.name} is of the architecture {str(name)[:60]!r}, which edgekit does not read from GGUF",
            f"it reads {', '.join(sorted(FAMILIES))}",
            "convert the folder the model was published in on Hugging Face instead",
        )
    return FAMILIES[str(name)]


def read_config(file: GgufFile) -> tuple[PreTrainedConfig, list[str]]:
    """(transformers config, keys of the architecture's metadata that were not used)."""
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    family = read_family(file)
    settings, used = _settings(file, family)
    settings |= _of_tensors(file, settings)
    settings |= _special_tokens(file, settings["vocab_size"])
    settings |= rope_settings(file, family.kind, settings)
    settings["architectures"] = [MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[family.kind]]
    try:
        config = AutoConfig.for_model(family.kind, **settings)
    except Exception as error:  # the library raises whatever its validators do
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(
            f"The metadata of {file.name} describe no {family.kind} model",
            lines[0][:300],
            "take the file from where the model was published",
        ) from error
    prefix = f"{file.metadata['general.architecture']}."
    left = [k for k in file.metadata if k.startswith(prefix) and k[len(prefix) :] not in used]
    return config, [k for k in left if not k.startswith(f"{prefix}rope.scaling.")]


def _settings(file: GgufFile, family: Family) -> tuple[JsonObject, set[str]]:
    """(names of the config and their values, keys that were read)."""
    from transformers.integrations import GGUF_CONFIG_MAPPING

    table = {k: v for k, v in GGUF_CONFIG_MAPPING[family.like].items() if isinstance(v, str)}
    table |= {"feed_forward_length": "intermediate_size", **dict(family.optional), **dict(family.required)}
    settings: JsonObject = {}
    for key, name in table.items():
        value = _value(file, key)
        if value is not None and name not in ("vocab_size", "rope_theta", "head_dim"):
            settings[name] = checked(file, key, value, name in _INTEGERS)
    needed = (
        "num_hidden_layers",
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
        *(n for _, n in family.required),
    )
    missing = [next(k for k, v in table.items() if v == n) for n in needed if n not in settings]
    if missing:
        raise SourceError(
            f"{file.name} does not say what its model is",
            f"{', '.join(missing)} missing from its metadata",
            "take the file from where the model was published",
        )
    # Files of before grouped attention leave it out, and transformers' permutation needs it.
    settings.setdefault("num_key_value_heads", settings["num_attention_heads"])
    settings["head_dim"] = _head_size(file, settings)
    return settings, {*table, *_KNOWN}


def _head_size(file: GgufFile, settings: JsonObject) -> int:
    key, values = _value(file, "attention.key_length"), _value(file, "attention.value_length")
    size = key if key is not None else settings["hidden_size"] // settings["num_attention_heads"]
    size = checked(file, "attention.key_length", size, True)
    if values is not None and values != size:
        raise SourceError(
            f"{file.name} has keys and values of different sizes",
            f"{size} and {values} a head",
            "edgekit reads models where they are the same",
        )
    return int(size)


def _of_tensors(file: GgufFile, settings: JsonObject) -> JsonObject:
    """The settings that follow only from the tensors: the vocabulary, a tied head, biases."""
    embedding = file.tensors.get("token_embd.weight")
    if embedding is None or len(embedding.shape) != 2:
        raise SourceError(
            f"{file.name} has no embedding", "token_embd.weight is missing or no matrix", "download or copy it again"
        )
    layers = settings["num_hidden_layers"]
    if layers > _MOST_LAYERS or not any(n.startswith(f"blk.{layers - 1}.") for n in file.tensors):
        raise SourceError(
            f"{file.name} is not complete",
            f"it states {layers} layers, and the last has no tensors",
            "download or copy it again",
        )
    values: JsonObject = {"vocab_size": embedding.shape[0], "tie_word_embeddings": "output.weight" not in file.tensors}
    if file.metadata["general.architecture"] in ("llama", "granite", "smollm3"):
        values["attention_bias"] = "blk.0.attn_q.bias" in file.tensors
        values["mlp_bias"] = "blk.0.ffn_up.bias" in file.tensors
    large, heads = settings["hidden_size"], settings["num_attention_heads"]
    if file.metadata["general.architecture"] == "gemma2":
        # llama.cpp tells the 27B models by their layers too: nothing in the file states the scale.
        values["query_pre_attn_scalar"] = large // heads if layers == 46 else settings["head_dim"]
    if file.metadata["general.architecture"] == "gemma3":
        values["query_pre_attn_scalar"] = large // heads if layers == 62 else settings["head_dim"]
        pattern = _value(file, "attention.sliding_window_pattern")
        if pattern is not None:
            pattern = checked(file, "attention.sliding_window_pattern", pattern, True)
            values["layer_types"] = [
                "sliding_attention" if (i + 1) % pattern else "full_attention" for i in range(layers)
            ]
    return values


def _special_tokens(file: GgufFile, rows: int) -> dict[str, int | None]:
    """The ids of special tokens. A token that does not exist is stated as well, since the defaults of a config
    class are other models' tokens."""
    return {
        "bos_token_id": token_id(file, "bos", rows),
        "eos_token_id": token_id(file, "eos", rows),
        "pad_token_id": token_id(file, "padding", rows),
    }


def token_id(file: GgufFile, name: str, count: int) -> int | None:
    """The id in `tokenizer.ggml.<name>_token_id`. Raises SourceError for one of no token."""
    identifier = file.metadata.get(f"tokenizer.ggml.{name}_token_id")
    if identifier is None or identifier in (-1, 2**32 - 1):  # how some converters write that there is none
        return None
    if type(identifier) is not int or not 0 <= identifier < count:
        raise SourceError(
            f"The tokenizer of {file.name} does not belong to its weights",
            f"its {name} token is {str(identifier)[:40]}, and there are {count}",
            "download or copy it again",
        )
    return identifier


def _value(file: GgufFile, key: str) -> Any:
    """A value of the architecture's own metadata. A list that repeats one value for each layer counts as that
    value."""
    value = file.metadata.get(f"{file.metadata['general.architecture']}.{key}")
    if isinstance(value, list) and value and all(v == value[0] for v in value):
        return value[0]
    return value


def checked(file: GgufFile, key: str, value: Any, whole: bool) -> Any:
    """A number that a model can have. Raises SourceError for any other."""
    if isinstance(value, list):
        raise SourceError(
            f"{file.name} has layers of different shapes",
            f"its {key} is a list",
            "edgekit reads models whose layers are alike",
        )
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value < _LARGEST or (whole and not isinstance(value, int)):
        raise SourceError(f"{file.name} is damaged", f"its {key} is {str(value)[:60]}", "download or copy it again")
    return value
