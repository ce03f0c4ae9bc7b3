"""Language models lowered to graphs of fixed sizes: equal to transformers, whole, split, and in steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from transformers import AutoModelForCausalLM

from edgekit.errors import ConversionError
from edgekit.fixed_text.graphs import decoder, host
from edgekit.fixed_text.lowering import _PLAIN
from edgekit.genai.builder import build
from edgekit.qnn.half_cache import half_cache
from edgekit.quantize import language
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.onnxruntime_chain import Chain
from tests.language import folder, stories

pytest.importorskip("onnxruntime_genai")

STEP, CONTEXT = 8, 40
FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "mistral": {},
    "granite": {"residual_multiplier": 0.3},
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 16},
    "phi3": {"original_max_position_embeddings": 256},
}


def built(source: Path, bits: int = 0) -> tuple[onnx.ModelProto, int, Any]:
    """The builder's graph, the size of a head, and the network it was built from."""
    network = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()
    if bits:
        language.apply(network, language.round_all(network, bits, 32, lambda *_: None))
        table = network.get_input_embeddings()  # which the graph reads as the head has it
        table.weight = torch.nn.Parameter(table.packed.dequantised())
    out = source.parent / f"{source.name}-{bits}"
    build(network, source, out, CONTEXT, accuracy=0)
    head = json.loads((out / "genai_config.json").read_text(encoding="utf-8"))["model"]["decoder"]["head_size"]
    return onnx.load(out / "model.onnx"), head, network


def on_cpu(model: onnx.ModelProto) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def graphs(source: onnx.ModelProto, head: int, limit: float = float("inf")) -> list[list[onnx.ModelProto]]:
    both = [decoder(source, head, step, CONTEXT) for step in (STEP, 1)]
    return [*([*b.parts(limit)] for b in both), [host(source, both[1].tables, CONTEXT, half=False)]]


def opened(source: onnx.ModelProto, head: int, limit: float = float("inf")) -> Decoder:
    prompt, token, beside = graphs(source, head, limit)
    lookup = on_cpu(beside[0])
    return Decoder(*(Chain(lookup, [on_cpu(p) for p in g]) for g in (prompt, token)))


def expected(network: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return network(torch.tensor([ids])).logits[0].numpy()


def some_tokens(vocabulary: int) -> list[int]:
    return np.random.default_rng(1).integers(3, vocabulary, CONTEXT).tolist()


def check(reader: Decoder, network: Any, tolerance: float = 1e-5) -> None:
    """A prompt of several steps, a short one after it, single tokens to the end, and a rewind."""
    ids = some_tokens(network.config.vocab_size)
    wanted = expected(network, ids)
    limit = tolerance * max(1.0, float(np.abs(wanted).max()))
    for end in (19, 21, *range(22, CONTEXT + 1)):
        reader.read(ids[reader.held : end])
        assert np.abs(reader.logits - wanted[end - 1]).max() < limit, end
    reader.held = 11
    reader.read(ids[11:30])
    assert reader.held == 30 and np.abs(reader.logits - wanted[29]).max() < limit


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[onnx.ModelProto, int, Any]:
    return built(folder(tmp_path_factory.mktemp("small") / "llama"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_generation_equals_transformers(family: str, tmp_path: Path) -> None:
    source, head, network = built(folder(tmp_path / family, family, **FAMILIES[family]))
    check(opened(source, head), network)


@pytest.mark.parametrize("bits", [0, 4, 8])
def test_the_trained_model_and_its_small_integers(bits: int, tmp_path: Path) -> None:
    """Its 172 columns are not whole blocks."""
    source = tmp_path / "stories"
    source.symlink_to(stories())
    model, head, network = built(source, bits)
    check(opened(model, head), network, 1e-5 if not bits else 1e-4)


def test_only_plain_operators_are_left(small: tuple[onnx.ModelProto, int, Any]) -> None:
    prompt, token, _ = graphs(*small[:2])
    for model in (*prompt, *token):
        onnx.checker.check_model(model)
        added = {"Identity", "Pad", "RMSNormalization", "Squeeze"}
        assert {n.op_type for n in model.graph.node} <= _PLAIN | added
        assert not [n for n in model.graph.node if n.domain]
        for value in (*model.graph.input, *model.graph.output):
            assert all(d.dim_value > 0 for d in value.type.tensor_type.shape.dim)


def test_keys_come_in_as_columns_and_only_new_ones_go_out(small: tuple[onnx.ModelProto, int, Any]) -> None:
    (prompt,), (token,), _ = graphs(*small[:2])

    def shape(values: Any, name: str) -> list[int]:
        return next([d.dim_value for d in v.type.tensor_type.shape.dim] for v in values if v.name == name)

    assert shape(prompt.graph.input, "past_key_1") == [2, 1, 16, CONTEXT - STEP]
    assert shape(token.graph.input, "past_value_0") == [2, 1, CONTEXT - 1, 16]
    assert shape(prompt.graph.output, "key_0") == [2, 1, 16, STEP]
    assert shape(prompt.graph.output, "logits")[:2] == [1, 1]
    assert shape(prompt.graph.input, "mask") == [1, 1, STEP, CONTEXT]


def test_parts_equal_the_whole(small: tuple[onnx.ModelProto, int, Any]) -> None:
    source, head, network = small
    prompt, token, _ = graphs(source, head, limit=40_000)
    assert len(prompt) == len(token) > 2
    check(opened(source, head, 40_000), network)
    whole, split = opened(source, head), opened(source, head, 40_000)
    for reader in (whole, split):
        reader.read(some_tokens(300)[:12])
    np.testing.assert_array_equal(whole.logits, split.logits)


def test_a_part_holds_no_more_than_it_must(small: tuple[onnx.ModelProto, int, Any]) -> None:
    """Half of the weights each, and every key in one of them."""
    _, token, _ = graphs(*small[:2])
    size = sum(t.ByteSize() for t in token[0].graph.initializer)
    _, parts, _ = graphs(*small[:2], limit=0.7 * size)
    assert len(parts) == 2
    assert all(sum(t.ByteSize() for t in p.graph.initializer) <= 0.7 * size for p in parts)
    keys = [v.name for p in parts for v in p.graph.input if v.name.startswith("past_key")]
    assert sorted(keys) == ["past_key_0", "past_key_1"]


def test_a_cache_in_16_bits_moves_the_logits_by_rounding_only(small: tuple[onnx.ModelProto, int, Any]) -> None:
    source, head, network = small
    prompt, token, beside = graphs(source, head)
    lookup = on_cpu(beside[0])
    reader = Decoder(*(Chain(lookup, [on_cpu(half_cache(p)) for p in g]) for g in (prompt, token)))
    assert all(a.dtype == np.float16 for a in reader._past.values())
    check(reader, network, 5e-3)


def test_the_embedding_in_16_bits_is_half_as_large(small: tuple[onnx.ModelProto, int, Any]) -> None:
    source, head, _ = small
    tables = decoder(source, head, 1, CONTEXT).tables
    full, half = (host(source, tables, CONTEXT, half=h) for h in (False, True))
    assert half.ByteSize() < 0.7 * full.ByteSize()
    feeds = {"input_ids": np.array([[5, 6]]), "position_ids": np.array([[0, 1]])}
    a, b = (on_cpu(m).run(["hidden", "cos"], feeds) for m in (full, half))
    np.testing.assert_allclose(a[0], b[0], atol=2e-3)
    np.testing.assert_array_equal(a[1], b[1])


def changed(source: onnx.ModelProto, kind: str, **attributes: int) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(source)
    for node in result.graph.node:
        if node.op_type == kind:
            kept = [a for a in node.attribute if a.name not in attributes]
            del node.attribute[:]
            node.attribute.extend([*kept, *(onnx.helper.make_attribute(n, v) for n, v in attributes.items())])
    return result


def test_what_has_no_form_on_the_npu_is_refused(small: tuple[onnx.ModelProto, int, Any]) -> None:
    source, head, _ = small
    turned = changed(source, "GroupQueryAttention", rotary_interleaved=1)
    with pytest.raises(ConversionError, match="GroupQueryAttention") as caught:
        decoder(turned, head, 1, CONTEXT)
    assert "interleaved" in caught.value.why
    other = changed(source, "nothing")
    for node in other.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type, node.domain = "QMoE", "com.microsoft"
    with pytest.raises(ConversionError, match="QMoE"):
        decoder(other, head, 1, CONTEXT)


def test_a_graph_without_an_embedding_is_refused(small: tuple[onnx.ModelProto, int, Any]) -> None:
    empty = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    with pytest.raises(ConversionError, match="does not begin"):
        decoder(empty, 16, 1, CONTEXT)
