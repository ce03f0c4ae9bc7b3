"""genai_config.json: what edgekit's packages say in it, and nothing else.

ONNX Runtime GenAI does what this file tells: it loads libraries and providers, writes profiles, opens
files. So each key and value is compared with what a language model's package needs; what is not known is
refused. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.errors import IntegrityError
from edgekit.system.documents import DocumentError, parse_json

_LARGEST = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,60}")  # of a tensor
# The library formats these with a layer's number in 64 bytes: another sign after % would read and write memory.
_LAYER = re.compile(r"[A-Za-z0-9_.-]{0,24}%d[A-Za-z0-9_.-]{0,24}")
_TYPE = re.compile(r"[a-z0-9_]{1,40}")

Check = Callable[[object], bool]
Shape = Mapping[str, Any]  # of a key: a Check, or the Shape of an object


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -1 <= value <= _LARGEST


def _real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e9


def _switch(value: object) -> bool:
    return isinstance(value, bool)


def _tensor(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _kind(value: object) -> bool:
    return isinstance(value, str) and _TYPE.fullmatch(value) is not None


def _ids(value: object) -> bool:
    return _whole(value) or (isinstance(value, list) and len(value) <= 1000 and all(map(_whole, value)))


def _nothing(value: object) -> bool:
    return value == [] or value is None


def _kinds(value: object) -> bool:
    return isinstance(value, list) and len(value) <= 10_000 and all(map(_kind, value))


def _layers(value: object) -> bool:
    return isinstance(value, str) and _LAYER.fullmatch(value) is not None


def _tensors(*names: str) -> Shape:
    return {name: _layers if name.endswith("_names") else _tensor for name in names}


_INPUTS = _tensors(
    "input_ids",
    "attention_mask",
    "position_ids",
    "past_key_names",
    "past_value_names",
    "past_key_scale_names",
    "past_value_scale_names",
    "past_conv_names",
)
_OUTPUTS = _tensors(
    "logits",
    "present_key_names",
    "present_value_names",
    "present_key_scale_names",
    "present_value_scale_names",
    "present_conv_names",
)
_SHAPE: Shape = {
    "model": {
        "type": _kind,
        "vocab_size": _whole,
        "context_length": _whole,
        "bos_token_id": _ids,
        "eos_token_id": _ids,
        "pad_token_id": _ids,
        "bot_token_id": _whole,
        "eot_token_id": _whole,
        "bor_token_id": _whole,
        "eor_token_id": _whole,
        "decoder": {
            "filename": _tensor,
            "head_size": _whole,
            "hidden_size": _whole,
            "num_attention_heads": _whole,
            "num_hidden_layers": _whole,
            "num_key_value_heads": _whole,
            "inputs": _INPUTS,
            "outputs": _OUTPUTS,
            "layer_types": _kinds,
            "conv_cache_size": _whole,
            "sliding_window": {
                "window_size": _whole,
                "slide_key_value_cache": _switch,
                "slide_inputs": _switch,
                "layers": _ids,
                "cache_slack": _whole,
                "alignment": _whole,
                "pad_value": _whole,
            },
            "session_options": {"log_id": _tensor, "provider_options": _nothing},
        },
    },
    "search": {
        **dict.fromkeys(
            (
                "diversity_penalty",
                "length_penalty",
                "max_length",
                "min_length",
                "no_repeat_ngram_size",
                "num_beams",
                "num_return_sequences",
                "repetition_penalty",
                "temperature",
                "top_k",
                "top_p",
                "chunk_size",
            ),
            _real,
        ),
        **dict.fromkeys(("do_sample", "early_stopping", "past_present_share_buffer"), _switch),
    },
}


def check(content: bytes, filename: str) -> None:
    """Raises IntegrityError for a configuration that tells the engine anything else. `filename`: of the
    model it opens; "" where another engine does, and only the tokenizer's library reads this file."""
    try:
        config: Any = parse_json(content)
    except DocumentError as error:
        raise IntegrityError(f"genai_config.json is malformed: {error}", "", "convert again") from error
    key = _unknown(config, _SHAPE, "")
    if key:
        raise IntegrityError(
            f"genai_config.json sets {ascii(key)[1:-1][:120]}, which no package of edgekit's does",
            "its engine would act on it: load a library, open or write a file",
            "do not use this package: it was not written by edgekit",
        )
    named = config["model"].get("decoder", {}).get("filename") if "model" in config else None
    if filename and named != filename:
        raise IntegrityError(
            f"genai_config.json opens {named!a}, and the manifest says {filename}", "", "convert again"
        )


def _unknown(value: object, shape: Shape, where: str) -> str:
    """The first key that is not known or has a value that does not fit; "" when there is none."""
    if not isinstance(value, dict):
        return where or "no object"
    for key, content in value.items():
        path = f"{where}.{key}" if where else key
        rule = shape.get(key)
        if rule is None:
            return path
        if isinstance(rule, Mapping):
            wrong = _unknown(content, rule, path)
            if wrong:
                return wrong
        elif not rule(content):
            return path
    return ""
