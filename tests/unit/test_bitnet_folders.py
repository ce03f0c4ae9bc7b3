"""BitNet's folders with packed weights: the ternary weights and the scale that transformers' layers compute with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgekit.errors import SourceError
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language

KINDS = ("bitlinear", "autobitlinear", "offline")


def packed(ternary: Tensor) -> Tensor:
    """Four rows in one: row i·N/4 + r in the bits 2i of row r, each value plus one."""
    rows = (ternary + 1).long().tolist()
    count = len(rows) // 4
    made = [
        [sum(rows[i * count + r][k] << (2 * i) for i in range(4)) for k in range(len(rows[0]))] for r in range(count)
    ]
    return torch.tensor(made, dtype=torch.uint8)


def write(path: Path, kind: str, change: Callable[[Tensor], Tensor] = lambda t: t) -> dict[str, Tensor]:
    """The weights that each layer stands for. `change`: of one layer's scale."""
    language.bitnet(path)
    tensors, expected = {}, {}
    for name, weight in load_file(path / "model.safetensors").items():
        if not name.endswith("_proj.weight"):
            tensors[name] = weight
            continue
        scale = weight.float().abs().mean().bfloat16().float().reshape(1)
        ternary = (weight.float() / scale).round().clamp(-1, 1)
        stored = 1 / scale if kind == "bitlinear" else scale
        expected[name] = ternary * (1 / stored if kind == "bitlinear" else stored)
        tensors[name] = ternary.bfloat16() if kind == "offline" else packed(ternary)
        tensors[name.replace("weight", "weight_scale")] = (
            change(stored) if name.endswith("0.mlp.down_proj.weight") else stored
        )
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    said = json.loads((path / "config.json").read_text(encoding="utf-8"))
    said["quantization_config"] = {
        "quant_method": "bitnet",
        "linear_class": "bitlinear" if kind == "bitlinear" else "autobitlinear",
        "quantization_mode": "offline",
    }
    (path / "config.json").write_text(json.dumps(said), encoding="utf-8")
    return expected


def network(path: Path) -> Any:
    source = HuggingFaceSource()
    return source.network(source.read(str(path), SourceOptions(), path.parent / "files"), "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_its_weights(kind: str, tmp_path: Path) -> None:
    expected = write(tmp_path / "model", kind)
    layers = dict(network(tmp_path / "model").named_modules())
    for name, weight in expected.items():
        assert torch.allclose(layers[name.removesuffix(".weight")].weight, weight, rtol=1e-6), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "change", [lambda t: t * 0, lambda t: t * torch.nan, lambda t: -t, lambda t: t.expand(128).clone()]
)
def test_a_scale_that_is_none_is_refused(kind: str, change: Callable[[Tensor], Tensor], tmp_path: Path) -> None:
    write(tmp_path / "model", kind, change)
    with pytest.raises(SourceError, match=r"no scale of a layer|no ternary weight"):
        network(tmp_path / "model")
