"""Each family of language models gives, in its package's graph, the logits of transformers, or is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit import convert
from edgekit.errors import ConversionError, SourceError, UsageError
from edgekit.genai.agreement import Probe
from edgekit.genai.builder import build
from edgekit.quantize import kv_cache
from edgekit.quantize import language as quantising
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.engines.genai import GenaiSession
from edgekit.sources import families
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language

_ROPE = {"rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 32}
_LLAMA3 = {**_ROPE, "rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
_YARN = {**_ROPE, "rope_type": "yarn"}
_LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
_DYNAMIC = {**_LINEAR, "rope_type": "dynamic"}
_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "original_max_position_embeddings": 64,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    "long_factor": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
}
_GEMMA3 = {
    "full_attention": {**_LINEAR, "rope_theta": 1e6},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
_GRANITE4 = {
    "num_local_experts": 0,
    "num_experts_per_tok": 0,
    "shared_intermediate_size": 96,
    "layer_types": ["attention"] * 2,
    "position_embedding_type": "rope",
}
_LFM2 = {"num_hidden_layers": 3, "layer_types": ["conv", "full_attention", "conv"]}

FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("qwen2", {}),
    ("qwen3", {}),
    ("mistral", {}),
    ("gemma", {}),
    ("gemma2", {}),
    ("gemma3_text", {}),
    ("granite", {}),
    ("olmo", {}),
    ("phi", {"layer_norm_eps": 0.1}),
    ("phi3", {"original_max_position_embeddings": 256}),
    ("llama", {"tie_word_embeddings": True}),
    ("llama", {"head_dim": 8}),
    ("llama", {"intermediate_size": 311, "tie_word_embeddings": True}),
    ("nemotron", {"norm_eps": 0.1}),
    ("ernie4_5", {}),
    ("hunyuan_v1_dense", {}),
    ("granitemoehybrid", _GRANITE4),
    ("lfm2", _LFM2),
    ("smollm3", {"num_hidden_layers": 4}),
    ("mistral", {"sliding_window": 12}),
    ("gemma2", {"sliding_window": 12}),
    ("gemma3_text", {"sliding_window": 12}),
]
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *(("llama", {"rope_parameters": r}) for r in (_LLAMA3, _YARN, _LINEAR, _DYNAMIC)),
    ("qwen2", {"rope_parameters": _YARN | {"attention_factor": 1.3}}),
    ("qwen3", {"rope_parameters": _DYNAMIC}),
    ("smollm3", {"rope_parameters": _YARN, "no_rope_layers": [1, 0], "head_dim": 24}),
    ("smollm3", {"use_sliding_window": True, "sliding_window": 12, "no_rope_layers": [1, 0]}),
    ("phi3", {"rope_parameters": _LONG, "original_max_position_embeddings": 64, "tie_word_embeddings": True}),
    ("gemma3_text", {"rope_parameters": _GEMMA3, "num_hidden_layers": 6, "sliding_window": 12}),
    ("hunyuan_v1_dense", {"rope_parameters": {**_DYNAMIC, "alpha": 1000.0}}),
    ("nemotron", {"rope_parameters": _LINEAR}),
    ("lfm2", {**_LFM2, "rope_parameters": _YARN, "norm_eps": 0.1}),
    # what a family does not have, though its config states it
    (
        "llama",
        {
            "sliding_window": 12,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
    ),
    ("llama", {"hidden_activation": "gelu"}),
    ("gemma3_text", {"attn_logit_softcapping": 1.0}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 12, "num_hidden_layers": 4, "max_window_layers": 2}),
    ("llama", {"attention_bias": True, "mlp_bias": True, "vocab_size": 333, "num_key_value_heads": 1}),
]


def quiet(what: str, done: int, total: int) -> None:
    pass


def cases() -> Iterator[tuple[str, dict[str, Any], str]]:
    for form in ("float", "w8", "int8 cache"):
        for kind, more in FAMILIES if form != "float" else [*FAMILIES, *SETTINGS]:
            if (kind, form) != ("lfm2", "int8 cache"):  # which is for keys and values alone
                yield kind, more, form


@pytest.mark.parametrize(("kind", "more", "form"), cases())
def test_logits_are_those_of_transformers(kind: str, more: dict[str, Any], form: str, tmp_path: Path) -> None:
    """Read whole, token by token, and after going back; in 8 bits as far as rounding lets them."""
    source = HuggingFaceSource()
    folder = language.folder(tmp_path / "source", kind, **more)
    model = source.read(str(folder), SourceOptions(context=64), tmp_path / "files")
    network = source.network(model, "float32")
    ids = np.random.default_rng(0).integers(4, 300, 40).tolist()
    cache = None
    with torch.no_grad():
        expected = network(torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()
    if form == "int8 cache":
        texts = torch.from_numpy(np.random.default_rng(1).integers(4, 300, (6, 40)))
        cache = kv_cache.scales(network, list(texts), 64, quiet)
    if form == "w8":
        quantising.apply(network, quantising.round_all(network, 8, 32, quiet))
    build(network, model.folder, tmp_path / "package", 64, cache=cache)
    session = GenaiSession(tmp_path / "package", model.spec, EngineOptions(1))
    session.start([*ids[:10], *ids[::-1]])
    assert session.start(ids[:20]) == (20 if kind == "lfm2" else 10)  # convolutions cannot go back
    for position in range(20, 40):
        logits = session.logits()[: expected.shape[1]].astype(np.float64)
        seen = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        wanted = expected[position - 1]
        assert float((np.exp(wanted) * (wanted - seen)).sum()) < (1e-6 if form == "float" else 0.02)
        session.append([ids[position]])


def test_every_family_that_is_converted_is_compared() -> None:
    assert {kind for kind, _ in FAMILIES} | {"bitnet"} == set(families.FAMILIES)  # with its own tests


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("olmo2", {}, "olmo2 .Olmo2ForCausalLM.*\n.*converts bitnet, ernie4_5"),
    ("qwen3_moe", {"num_experts": 4, "moe_intermediate_size": 32}, "Qwen3MoeForCausalLM"),
    ("gpt2", {}, "GPT2LMHeadModel"),
    ("gemma4_text", {}, "Gemma4ForCausalLM"),
    ("granitemoehybrid", {**_GRANITE4, "num_local_experts": 4, "num_experts_per_tok": 2}, "num_local_experts"),
    ("granitemoehybrid", {**_GRANITE4, "position_embedding_type": "nope"}, "without rotated positions"),
    (
        "granitemoehybrid",
        {**_GRANITE4, "layer_types": ["mamba", "attention"], "mamba_n_heads": 8, "mamba_d_head": 16},
        "no layers of linear_attention",
    ),
    ("nemotron", {"mlp_bias": True}, "mlp_bias"),
    ("phi", {"qk_layernorm": True}, "qk_layernorm"),
    ("olmo", {"clip_qkv": 8.0}, "clip_qkv, 8.0"),
    ("lfm2", {**_LFM2, "conv_bias": True}, "conv_bias"),
    ("llama", {"head_dim": 20}, "these have 20"),
]


@pytest.mark.parametrize(("kind", "more", "words"), REFUSED)
def test_what_no_equal_package_is_made_of_is_refused_at_reading(
    kind: str, more: dict[str, Any], words: str, tmp_path: Path
) -> None:
    folder = language.folder(tmp_path / "source", kind, **more)
    with pytest.raises(SourceError, match=words) as caught:
        HuggingFaceSource().read(str(folder), SourceOptions(), tmp_path / "files")
    assert caught.value.next


@pytest.mark.parametrize(("kind", "more"), [("ernie4_5", {}), ("hunyuan_v1_dense", {}), ("lfm2", _LFM2)])
@pytest.mark.parametrize("target", ["tflite", "snapdragon-8-elite"])
def test_what_has_no_graph_of_fixed_sizes_is_refused_before_it_is_rounded(
    kind: str, more: dict[str, Any], target: str, tmp_path: Path
) -> None:
    folder = language.folder(tmp_path / "source", kind, **more)
    with pytest.raises(ConversionError, match="cannot be written in graphs of fixed sizes") as caught:
        convert(str(folder), targets=[target], precisions=["w4"], out=tmp_path / "out", launches=0, allow=["misread"])
    assert "-t cpu" in caught.value.next


def test_a_context_is_not_longer_than_positions_are_rotated_alike(tmp_path: Path) -> None:
    more = {"rope_parameters": _LONG, "original_max_position_embeddings": 64}
    folder = language.folder(tmp_path / "source", "phi3", **more)
    source = HuggingFaceSource()
    with pytest.raises(UsageError, match="use --context 64 or less"):
        source.read(str(folder), SourceOptions(context=65), tmp_path / "files")
    model = source.read(str(folder), SourceOptions(), tmp_path / "files")
    assert model.spec.context_length == 64 and model.spec.trained_context == 256


def test_a_package_that_computes_something_else_is_an_error(tmp_path: Path) -> None:
    source = HuggingFaceSource()
    folder = language.folder(tmp_path / "source")
    model = source.read(str(folder), SourceOptions(context=64), tmp_path / "files")
    network = source.network(model, "float32")
    probe = Probe(network, model.spec)
    build(network, model.folder, tmp_path / "same", 64)
    probe.check(tmp_path / "same")
    network.model.layers[1].self_attn.o_proj.weight.data *= 0.5
    build(network, model.folder, tmp_path / "other", 64)
    with pytest.raises(ConversionError, match="does not compute what the model does"):
        probe.check(tmp_path / "other")
