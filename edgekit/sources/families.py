"""Which language models are converted: those whose packages give transformers' logits.

onnxruntime-genai's builder reads from a config what it knows and leaves out the rest without a word. So
what is converted is what tests/end_to_end/test_text_families.py compares, and all else is an error before
weights are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import SourceError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# By transformers' model_type; with settings that transformers computes with and the builder does not.
FAMILIES: dict[str, tuple[str, ...]] = {
    "bitnet": (),
    "ernie4_5": (),
    "gemma": (),
    "gemma2": (),
    "gemma3_text": (),
    "granite": (),
    "granitemoehybrid": ("num_local_experts",),
    "hunyuan_v1_dense": (),
    "lfm2": ("conv_bias",),
    "llama": (),
    "mistral": (),
    "nemotron": ("mlp_bias",),
    "olmo": ("clip_qkv",),
    "phi": ("qk_layernorm",),
    "phi3": (),
    "qwen2": (),
    "qwen3": (),
    "smollm3": (),
}
_LAYERS = {"attention", "full_attention", "sliding_attention"}
_CONVOLUTIONS = "lfm2"
_MULTIPLE = 8  # of the size of a head, which the attention kernel wants


def check(config: PreTrainedConfig, name: str) -> None:
    """Raises SourceError for a transformers config whose package would not give the same logits."""
    family = config.architectures[0]
    if config.model_type not in FAMILIES:
        raise SourceError(
            f"{name} is a {config.model_type} ({family}), which edgekit does not convert",
            f"it converts {', '.join(sorted(FAMILIES))}",
            "pass a model of one of these families",
        )
    lacking = _lacking(config)
    if lacking:
        raise SourceError(
            f"{name} is a {family} that edgekit does not convert",
            f"onnxruntime-genai {lacking}",
            "pass another model of this family or of another one",
        )


def head_size(config: PreTrainedConfig) -> int:
    """The number of values in a head of attention."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _lacking(config: PreTrainedConfig) -> str:
    """The part of the network that the engine or its builder lacks; "" when it lacks none."""
    for setting in FAMILIES[config.model_type]:
        if getattr(config, setting, None):
            return f"leaves out its {setting}, {getattr(config, setting)}"
    known = {*_LAYERS, "conv"} if config.model_type == _CONVOLUTIONS else _LAYERS
    other = sorted(set(getattr(config, "layer_types", None) or ()) - known)
    if other:
        return f"has no layers of {', '.join(other)} for this family"
    if getattr(config, "position_embedding_type", "rope") != "rope":
        return "has no layers without rotated positions for this family"
    size = head_size(config)
    if size % _MULTIPLE:
        return f"takes heads of {_MULTIPLE}, 16, 24 … values, and these have {size}"
    return ""
