"""Language models in a .tflite: equal to transformers in float, near in small integers, weights once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

pytest.importorskip("ai_edge_quantizer")
pytest.importorskip("onnxruntime_genai")

from edgekit import registry
from edgekit.conversion.reading import read_model
from edgekit.errors import IntegrityError
from edgekit.genai.builder import build
from edgekit.model import as_checkpoint
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.litert_text import open_decoder
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.tflite.merge import merge
from edgekit.tflite.text import text_file
from edgekit.tflite.writer import unpack
from tests.language import bitnet, folder, stories
from tests.tflite import Case, graph, lower, one, random

STEP, CONTEXT = 8, 40
FAMILIES = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"sliding_window": 6, "query_pre_attn_scalar": 16},
    "phi3": {"original_max_position_embeddings": 256},
}


def network_of(source: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, attn_implementation="eager").eval()


def file_of(source: Path, out: Path, network: Any, precision: str) -> bytes:
    build(network, source, out, CONTEXT, accuracy=0, mode="float")
    return text_file(out, CONTEXT, STEP, Precision(precision), lambda *_: None).data


def log_probabilities(network: Any, ids: list[int]) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        return network(torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()


def divergence(reader: Decoder, wanted: np.ndarray[Any, Any], ids: list[int]) -> float:
    """Mean KL divergence over a prompt of several steps, single tokens to the end, and a rewind."""
    found = []
    for start, end in ((0, 19), *((i, i + 1) for i in range(19, CONTEXT)), (11, 30)):
        reader.held = start
        reader.read(ids[start:end])
        logits = torch.tensor(reader.logits).double().log_softmax(-1).numpy()
        p = wanted[end - 1]
        found.append(float((np.exp(p) * (p - logits)).sum()))
    return float(np.mean(found))


def some_tokens(vocabulary: int) -> list[int]:
    return np.random.default_rng(1).integers(3, vocabulary, CONTEXT).tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_families_equal_transformers(family: str, tmp_path: Path) -> None:
    source = folder(tmp_path / family, family, **FAMILIES[family])
    network = network_of(source)
    ids = some_tokens(network.config.vocab_size)
    reader = open_decoder(file_of(source, tmp_path / "out", network, "fp32"), 1)
    assert divergence(reader, log_probabilities(network, ids), ids) < 1e-8


@pytest.mark.parametrize(
    ("precision", "limit", "bytes_a_weight"), [("fp32", 1e-8, 4), ("fp16", 1e-4, 2), ("w8", 0.01, 1), ("w4", 0.3, 0.75)]
)
def test_the_trained_model_in_each_precision(
    precision: str, limit: float, bytes_a_weight: float, tmp_path: Path
) -> None:
    """Both graphs hold the same weights, which the file has once; its 172 columns are no whole blocks."""
    network = network_of(stories())
    ids = some_tokens(network.config.vocab_size)
    data = file_of(stories(), tmp_path / "out", network, precision)
    reader = open_decoder(data, 1)
    assert divergence(reader, log_probabilities(network, ids), ids) < limit
    weights = sum(p.numel() for p in network.parameters())
    assert len(data) < 1.15 * bytes_a_weight * weights + 220_000  # 900 operators and their names
    assert [s.signatureKey for s in unpack(data).signatureDefs] == [b"prompt", b"token"]


def test_a_bitnet_rounds_as_in_training(tmp_path: Path) -> None:
    model = as_checkpoint(read_model(str(bitnet(tmp_path / "bitnet")), SourceOptions()), "")
    network = registry.load("sources", model.source.kind).network(model, "float32")
    ids = some_tokens(network.config.vocab_size)
    wanted = log_probabilities(network, ids)
    for precision in ("fp32", "w8", "w4"):
        data = file_of(model.folder, tmp_path / precision, network, precision)
        assert divergence(open_decoder(data, 1), wanted, ids) < 0.02, precision


def test_files_become_one(tmp_path: Path) -> None:
    """Equal weights once, and each under its own name."""
    weight = random(64, 64)
    case = Case((2, 64), one("MatMul", weight))
    files = {name: lower(graph(case)).data for name in ("a", "b")}
    both = merge(files)
    assert len(both) < len(files["a"]) + 4096 < 2 * len(files["a"])
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=both)
    x = random(2, 64, seed=5)
    for name in files:
        (found,) = interpreter.get_signature_runner(name)(x=x).values()
        np.testing.assert_allclose(found, x @ weight, rtol=1e-4, atol=1e-4)


def test_another_file_is_refused() -> None:
    data = lower(graph(Case((2, 4), one("Relu")))).data
    with pytest.raises(IntegrityError):
        open_decoder(data, 1)
    with pytest.raises(IntegrityError, match="no language model"):
        open_decoder(merge({"prompt": data, "token": data}), 1)
