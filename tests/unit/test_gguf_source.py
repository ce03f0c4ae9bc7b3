"""GGUF files: the weights, integers, tokenizer and settings of a model come back as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from edgekit.errors import SourceError
from edgekit.layers.packed import PackedLinear
from edgekit.sources.gguf import GgufSource
from edgekit.sources.gguf_blocks import keeps, packed, values
from edgekit.sources.gguf_header import read_gguf
from edgekit.sources.gguf_rope import llama3_factors
from edgekit.spec import Precision
from tests.data import data
from tests.gguf_files import TEXTS, byte_level, hf_tensors, network, read, sentencepiece, tiny, write

IDS = torch.tensor([[1, 5, 9, 30, 77, 200, 301, 4, 8, 15, 16, 23]])
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True},
    "qwen2": {},
    "qwen3": {"head_dim": 24},
    "gemma": {},
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3_text": {"num_hidden_layers": 7, "sliding_window": 8, "query_pre_attn_scalar": 16},
    "phi3": {"original_max_position_embeddings": 256},
    "smollm3": {"num_hidden_layers": 5},
    "granite": {"attention_multiplier": 0.2, "logits_scaling": 3.0, "embedding_multiplier": 2.0},
}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(IDS).logits


def of_family(kind: str) -> tuple[Any, Any]:
    tokenizer = byte_level() if kind.startswith("qwen") else sentencepiece(gemma=kind.startswith("gemma"))
    return tiny(kind, **FAMILIES[kind]), tokenizer


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_float_file_gives_the_model_it_was_written_from(kind: str, tmp_path: Path) -> None:
    original, tokenizer = of_family(kind)
    model, found = network(write(tmp_path / "tiny.gguf", original, tokenizer))
    assert torch.equal(logits(found), logits(original))
    if not kind.startswith("gemma"):  # whose norms are stored plus one
        weights = original.state_dict()
        assert all(torch.equal(weights[n], w) for n, w in found.state_dict().items())
    assert model.spec.family == type(original).__name__
    assert (model.source.kind, model.source.licence) == ("gguf", "mit")
    assert model.source.parameters == sum(p.numel() for p in original.parameters())
    again = AutoTokenizer.from_pretrained(model.folder)
    texts = [t for t in TEXTS if kind != "phi3" or "<s>" not in t]  # Phi-3's special tokens swallow spaces
    assert [again(t).input_ids for t in texts] == [tokenizer(t).input_ids for t in texts]


def test_tensors_have_the_names_of_llama_cpp() -> None:
    names = hf_tensors(tiny("gemma2"))
    assert {
        "token_embd.weight",
        "output_norm.weight",
        "blk.1.attn_norm.weight",
        "blk.1.attn_q.weight",
        "blk.1.post_attention_norm.weight",
        "blk.1.ffn_norm.weight",
        "blk.1.post_ffw_norm.weight",
        "blk.0.ffn_gate.weight",
        "blk.0.attn_output.weight",
    } < set(names)


def test_the_small_trained_model(tmp_path: Path) -> None:
    folder = data("llm/stories260K/hf")
    original = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, found = network(write(tmp_path / "stories.gguf", original, tokenizer))
    assert torch.allclose(logits(found), logits(original), atol=1e-5)
    again = AutoTokenizer.from_pretrained(model.folder)
    assert [again(t).input_ids for t in TEXTS] == [tokenizer(t).input_ids for t in TEXTS]
    assert again.decode(again("Once upon a time").input_ids, skip_special_tokens=True) == "Once upon a time"
    assert (model.spec.bos, model.spec.add_bos, model.spec.stop) == (1, True, (2,))
    half = read(write(tmp_path / "half.gguf", original, tokenizer, "F16"))
    assert GgufSource().network(half, "auto").lm_head.weight.dtype == torch.float16


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "TQ1_0", "TQ2_0"])
def test_integers_are_kept_bit_for_bit(kind: str, tmp_path: Path) -> None:
    original = tiny("llama", hidden_size=256, intermediate_size=512, head_dim=64, tie_word_embeddings=True)
    path = write(tmp_path / f"{kind}.gguf", original, sentencepiece(), kind)
    model, found = network(path)
    theirs = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    for name, tensor in read_gguf(str(path)).tensors.items():
        assert np.array_equal(values(tensor), theirs[name])
        if tensor.kind == kind:
            assert packed(tensor).exact
            assert np.array_equal(packed(tensor).dequantised().numpy().view(np.int32), theirs[name].view(np.int32))
    # q and k are in another order of rows in the file.
    query = found.model.layers[0].self_attn.q_proj
    assert torch.equal(query.weight, unpermuted(theirs["blk.0.attn_q.weight"], 4))
    assert sum(isinstance(m, PackedLinear) for m in found.modules()) == (15 if kind in ("Q4_0", "Q8_0") else 14)
    table = found.get_input_embeddings()
    assert hasattr(table, "packed") == (kind in ("Q4_0", "Q8_0"))
    if hasattr(table, "packed"):
        assert found.lm_head.packed is table.packed and torch.equal(table.weight, found.lm_head.weight)
    assert f"with the file's own integers: {15 if hasattr(table, 'packed') else 14} {kind}" in model.source.notes[0]
    assert model.source.layout == f"llama, {kind}"
    assert model.native is {"Q4": Precision.W4, "Q8": Precision.W8, "TQ": Precision.TERNARY}[kind[:2]]


def unpermuted(array: np.ndarray[Any, Any], heads: int) -> torch.Tensor:
    shape = (heads, array.shape[0] // heads // 2, 2, array.shape[1])
    return torch.from_numpy(array.reshape(shape).swapaxes(1, 2).reshape(array.shape).copy())


def test_packed_layers_keep_their_biases(tmp_path: Path) -> None:
    original = tiny("qwen2", tie_word_embeddings=False)
    _, found = network(write(tmp_path / "q.gguf", original, byte_level(), "Q8_0", kinds={"token_embd.weight": "F32"}))
    query = found.model.layers[0].self_attn.q_proj
    assert isinstance(query, PackedLinear)
    assert torch.equal(query.bias, original.model.layers[0].self_attn.q_proj.bias)
    assert (logits(found) - logits(original)).abs().max() < 0.1
    assert not hasattr(found.get_input_embeddings(), "packed")


def test_a_table_that_is_not_the_head_is_kept_too(tmp_path: Path) -> None:
    original = tiny("qwen2", tie_word_embeddings=False)
    model, found = network(write(tmp_path / "q.gguf", original, byte_level(), "Q4_0", kinds={"output.weight": "F16"}))
    table = found.get_input_embeddings()
    assert torch.equal(table.packed.dequantised(), table.weight)
    assert type(found.lm_head) is torch.nn.Linear and found.lm_head.weight is not table.weight
    assert model.native is Precision.W4


@pytest.mark.parametrize("whole", [True, False])
def test_q4_1_is_kept_where_its_minimum_is_a_zero_point(whole: bool, tmp_path: Path) -> None:
    model = tiny("llama")
    path = write(tmp_path / "m.gguf", model, sentencepiece(), "F32", kinds={"blk.0.ffn_up.weight": "Q4_1"})
    tensor = read_gguf(str(path)).tensors["blk.0.ffn_up.weight"]
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    blocks = content[tensor.start : tensor.start + tensor.bytes].reshape(-1, 20)
    scale = np.float16(0.25)
    zeros = np.arange(len(blocks)) % 16
    minimum = (-scale * zeros).astype(np.float16) if whole else np.full(len(blocks), -0.3, np.float16)
    blocks[:, :2] = np.frombuffer(scale.tobytes(), np.uint8)
    blocks[:, 2:4] = minimum[:, None].view(np.uint8)
    path.write_bytes(content.tobytes())
    assert keeps(tensor) == whole
    if whole:
        assert np.array_equal(packed(tensor).dequantised().numpy(), values(tensor))
    notes = read(path).source.notes
    assert ("1 layer with" in notes[0]) if whole else notes == ("1 tensor dequantised: 1 Q4_1",)


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "BF16"])
def test_other_formats_are_dequantised_as_gguf_does(kind: str, tmp_path: Path) -> None:
    original = tiny("llama", hidden_size=256, intermediate_size=256, num_hidden_layers=1, head_dim=64)
    path = write(tmp_path / f"{kind}.gguf", original, sentencepiece(), kind)
    theirs = {t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in gguf.GGUFReader(path).tensors}
    assert all(np.array_equal(values(t), theirs[n]) for n, t in read_gguf(str(path)).tensors.items())
    model, found = network(path)
    assert torch.equal(found.model.layers[0].mlp.up_proj.weight, torch.from_numpy(theirs["blk.0.ffn_up.weight"]))
    assert model.native is None and not any(isinstance(m, PackedLinear) for m in found.modules())
    assert not model.source.notes if kind == "BF16" else " dequantised" in model.source.notes[0]


def test_factors_of_llama_3_are_read_from_their_tensor(tmp_path: Path) -> None:
    scaling = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    original = tiny("llama", rope_theta=500000.0, rope_scaling=scaling, head_dim=64, hidden_size=256)
    factors = llama3_factors(500000.0, 64, 8.0, 1.0, 4.0, 8192).astype(np.float32)
    assert len(set(factors.tolist())) > 3  # of which some are between
    path = write(tmp_path / "l3.gguf", original, sentencepiece(), extra={"rope_freqs.weight": factors})
    _, found = network(path)
    assert found.config.rope_parameters.items() >= scaling.items()
    assert torch.equal(found.model.rotary_emb.inv_freq, original.model.rotary_emb.inv_freq)
    assert torch.equal(logits(found), logits(original))
    path = write(tmp_path / "odd.gguf", original, sentencepiece(), extra={"rope_freqs.weight": factors * 1.01})
    with pytest.raises(SourceError, match="rotates positions"):
        read(path)


@pytest.mark.parametrize(
    ("scaling", "stated"),
    [
        ({"rope_type": "linear", "factor": 4.0}, {"type": "linear", "factor": 4.0}),
        (
            {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
            {"type": "yarn", "factor": 4.0, "original_context_length": 64},
        ),
    ],
)
def test_scaled_positions(scaling: dict[str, Any], stated: dict[str, Any], tmp_path: Path) -> None:
    original = tiny("qwen3", rope_scaling=scaling)
    changed = {f"qwen3.rope.scaling.{k}": v for k, v in stated.items()}
    _, found = network(write(tmp_path / "s.gguf", original, byte_level(), changed=changed))
    assert torch.equal(logits(found), logits(original))


def test_long_phi_3(tmp_path: Path) -> None:
    long, short = np.linspace(1, 9, 8).astype(np.float32), np.linspace(1, 2, 8).astype(np.float32)
    scaling = {"rope_type": "longrope", "long_factor": long.tolist(), "short_factor": short.tolist()}
    original = tiny("phi3", rope_scaling=scaling, original_max_position_embeddings=64)
    path = write(
        tmp_path / "p.gguf",
        original,
        sentencepiece(),
        changed={"phi3.rope.scaling.original_context_length": 64, "phi3.rope.scaling.attn_factor": 1.19},
        extra={"rope_factors_long.weight": long, "rope_factors_short.weight": short},
    )
    _, found = network(path)
    assert torch.equal(logits(found), logits(original))


def test_an_old_file_without_grouped_heads_is_permuted_too(tmp_path: Path) -> None:
    original = tiny("llama", num_key_value_heads=4)
    path = write(tmp_path / "o.gguf", original, sentencepiece(), changed={"llama.attention.head_count_kv": None})
    assert torch.equal(logits(network(path)[1]), logits(original))


def test_a_split_file_is_read_from_any_of_its_parts(tmp_path: Path) -> None:
    original, tokenizer = tiny("llama"), sentencepiece()
    names = list(hf_tensors(original))
    paths = [tmp_path / f"m-{i:05d}-of-00002.gguf" for i in (1, 2)]
    for index, (path, left) in enumerate(zip(paths, (names[9:], names[:9]))):
        changed = {"split.no": index, "split.count": 2, "split.tensors.count": len(names)}
        write(path, original, tokenizer, changed=changed, leave_out=tuple(left))
    for path in paths:
        model, found = network(path)
        assert torch.equal(logits(found), logits(original)) and model.name == "m"
    assert GgufSource().files(str(paths[1])) == paths
    paths[0].rename(tmp_path / "other.gguf")
    with pytest.raises(SourceError, match="1 of 2 files are missing"):
        read(paths[1])
    with pytest.raises(SourceError, match="is one of 2 files"):
        read(tmp_path / "other.gguf")


def test_a_file_is_known_by_its_name_or_its_first_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "sha256-0123", tiny("llama"), sentencepiece())
    source = GgufSource()
    assert source.matches(str(path)) and source.matches("any/where.GGUF")
    assert not source.matches(str(tmp_path)) and not source.matches("model.onnx")
    assert read(path).name == "tiny-llama"  # as Ollama's files have no name of their own
