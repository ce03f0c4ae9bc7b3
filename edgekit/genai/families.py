"""Where onnxruntime-genai's builder and transformers 5 do not understand each other, family by family.

Each correction was found by a divergence from transformers; tests/end_to_end/test_language_models.py
compares the families.
"""

from __future__ import annotations

from typing import Any


def settle_config(config: Any, context: int) -> None:
    """`context`: tokens that are kept."""
    if hasattr(config, "quantization_config"):  # the layers in memory say what is quantised
        del config.quantization_config
    if config.architectures[0] == "BitNetForCausalLM":  # a Llama but for its layers
        config.architectures = ["LlamaForCausalLM"]
    if not hasattr(config, "rms_norm_eps") and hasattr(
        config, "layer_norm_eps"
    ):  # Phi: one name for both
        config.rms_norm_eps = config.layer_norm_eps
    nested = getattr(config, "rope_parameters", None) or {}
    if "full_attention" in nested:  # Gemma 3: the builder knows the older, flat form
        config.rope_parameters = dict(nested["full_attention"])
        config.rope_local_base_freq = nested["sliding_attention"]["rope_theta"]
    window = getattr(config, "sliding_window", None)
    if window and window > context:  # the kernel wants a cache at least as long as its window
        config.sliding_window = context
    if window and getattr(config, "layer_types", None) is None:  # Mistral, Phi-3: every layer has it
        config.layer_types = ["sliding_attention"] * config.num_hidden_layers


def mend_builders(builder: Any) -> None:
    """OLMo normalises with the mean taken out; the builder writes RMS norms for it."""
    plain = builder.OLMoModel.make_layernorm

    def centred(self: Any, layer_id: int, norm: Any, skip: bool, simple: bool, location: str) -> None:
        self.layernorm_attrs["epsilon"] = float(norm.eps if hasattr(norm, "eps") else 1e-5)
        self.layernorm_attrs["add_offset"] = 0
        plain(self, layer_id, norm, skip, False, location)

    builder.OLMoModel.make_layernorm = centred
