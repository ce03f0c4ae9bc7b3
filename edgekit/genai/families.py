"""Adapts configs and builders where onnxruntime-genai's builder and transformers 5 differ.

Each correction was found by a divergence from transformers; tests/end_to_end/test_text_families.py
compares the families. What the builder reads from a config is taken from the network in memory where
that tells: configs state settings that their family does not have.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgekit.genai.rotation import frequencies
from edgekit.sources.families import head_size

if TYPE_CHECKING:
    from builders.base import Model
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel


_WINDOW_EVERYWHERE = ("mistral", "phi3")  # others have it in the attention of some layers


def settle_config(config: PreTrainedConfig, network: PreTrainedModel, context: int) -> None:
    """`config`: the builder's, made to say what the network does. `context`: tokens that are kept."""
    if hasattr(config, "quantization_config"):  # the layers in memory say what is quantised
        del config.quantization_config
    own = type(network).__name__
    # BitNet is a Llama but for its layers
    config.architectures = ["LlamaForCausalLM" if own == "BitNetForCausalLM" else own]
    if "hidden_activation" not in type(config).__dataclass_fields__:  # Gemma 2's name for it
        config.hidden_activation = None
    if config.model_type != "gemma2":
        config.attn_logit_softcapping = None
    for name in ("layer_norm_eps", "norm_eps"):
        if not hasattr(config, "rms_norm_eps") and hasattr(config, name):
            config.rms_norm_eps = getattr(config, name)
    _settle_positions(config, network)
    _settle_windows(config, network, context)


def _settle_positions(config: PreTrainedConfig, network: PreTrainedModel) -> None:
    """Describes the simplest rotation with as many channels: the tables come from `rotation`."""
    share = 2 * len(frequencies(network)[0]) / head_size(network.config.get_text_config())
    config.rope_parameters = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": share}
    config.partial_rotary_factor, config.rope_local_base_freq = share, 1e4
    config.original_max_position_embeddings = config.max_position_embeddings  # Phi-3: one table


def _settle_windows(config: PreTrainedConfig, network: PreTrainedModel, context: int) -> None:
    every = config.sliding_window if config.model_type in _WINDOW_EVERYWHERE else None
    stated = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    kinds, widest = list(stated), None
    for index, layer in enumerate(network.base_model.layers):
        attention = getattr(layer, "self_attn", None)
        if attention is not None:
            window = getattr(attention, "sliding_window", every)
            widest = window or widest
            kinds[index] = "sliding_attention" if window else "full_attention"
    config.layer_types = kinds
    # the kernel wants a cache at least as long as its window
    config.sliding_window = min(widest, context) if widest else None


def mend_builders(builder: ModuleType) -> None:
    """OLMo normalises with the mean taken out; the builder writes RMS norms for it. SmolLM3 does not
    rotate in some layers; the builder writes those for rotations outside of attention only."""
    plain = builder.OLMoModel.make_layernorm
    attention = builder.Model.make_attention

    def centred(self: Model, layer_id: int, norm: Any, skip: bool, simple: bool, location: str) -> None:
        self.layernorm_attrs["epsilon"] = float(norm.eps if hasattr(norm, "eps") else 1e-5)
        self.layernorm_attrs["add_offset"] = 0
        plain(self, layer_id, norm, skip, False, location)

    def rotating(self: Model, layer_id: int, layer: nn.Module, root_input: str, **options: object) -> None:
        settings = self.attention_attrs
        before = {n: settings[n] for n in ("rope", "use_rope_in_attn")}
        if not getattr(layer, "use_rope", True):
            settings.update(dict.fromkeys(before, False))
        attention(self, layer_id, layer, root_input, **options)
        settings.update(before)

    builder.OLMoModel.make_layernorm = centred
    builder.SmolLM3Model.make_attention = rotating
