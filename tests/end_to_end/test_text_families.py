"""Each family of language models gives, in its package's graph, the logits of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.genai.builder import build
from edgekit.quantize import kv_cache
from edgekit.quantize import language as quantising
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.engines.genai import GenaiSession
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language

FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("qwen2", {}), ("qwen3", {}), ("mistral", {}), ("gemma2", {}), ("gemma3_text", {}), ("granite", {}), ("smollm3", {}),
    ("olmo", {}), ("phi", {"layer_norm_eps": 0.1}), ("phi3", {"original_max_position_embeddings": 256}), ("llama", {"tie_word_embeddings": True}),
    ("llama", {"head_dim": 8}), ("llama", {"intermediate_size": 311, "tie_word_embeddings": True}),
    ("mistral", {"sliding_window": 12}), ("gemma2", {"sliding_window": 12}), ("gemma3_text", {"sliding_window": 12}),
]  # fmt: skip


def quiet(what: str, done: int, total: int) -> None:
    pass


@pytest.mark.parametrize(("kind", "more"), FAMILIES)
@pytest.mark.parametrize("form", ["float", "w8", "int8 cache"])
def test_logits_are_those_of_transformers(
    kind: str, more: dict[str, Any], form: str, tmp_path: Path
) -> None:
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
    assert session.start(ids[:20]) == 10
    for position in range(20, 40):
        logits = session.logits()[: expected.shape[1]].astype(np.float64)
        seen = logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max()
        wanted = expected[position - 1]
        assert float((np.exp(wanted) * (wanted - seen)).sum()) < (1e-6 if form == "float" else 0.02)
        session.append([ids[position]])
