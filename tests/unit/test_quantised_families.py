"""Each family's own layers, fused and with biases, from folders quantised by plain formulae: its logits are those of
transformers' network with the weights that the integers stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from edgekit.sources.base import SourceOptions
from edgekit.sources.families import FAMILIES
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language
from tests import quantised_folders as folders

GROUP = 32
METHODS: dict[str, tuple[dict[str, Any], Callable[[Tensor], folders.Made]]] = {
    "gptq": ({"quant_method": "gptq", "bits": 4, "group_size": GROUP}, lambda w: folders.gptq(w, 4, GROUP)),
    "compressed-tensors": (
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {
                        "num_bits": 4,
                        "type": "int",
                        "symmetric": False,
                        "strategy": "group",
                        "group_size": GROUP,
                    },
                }
            },
        },
        lambda w: folders.compressed(w, 4, GROUP, even=False),
    ),
    "nf4": ({"quant_method": "bitsandbytes", "load_in_4bit": True}, folders.nf4),
}
OTHER: dict[str, dict[str, Any]] = {
    "granitemoehybrid": {
        "num_local_experts": 0,
        "num_experts_per_tok": 0,
        "shared_intermediate_size": 96,
        "layer_types": ["attention"] * 2,
        "position_embedding_type": "rope",
    }
}


def quantised(folder: Path, method: str) -> Any:
    """The folder's layers, all but the head, by the method; transformers' network of what they then stand for."""
    config, write = METHODS[method]
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    layers = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, torch.nn.Linear)}
    tensors: dict[str, Tensor] = {}
    expected: dict[str, Tensor] = {}
    for name, weight in load_file(folder / "model.safetensors").items():
        if name not in layers or name == "lm_head.weight" or weight.shape[1] % GROUP or len(weight) % 8:
            tensors[name] = weight
            continue
        made, expected[name] = write(weight.float())
        tensors |= {f"{name.removesuffix('.weight')}.{part}": t.contiguous() for part, t in made.items()}
    assert len(expected) >= 8
    network.load_state_dict(expected, strict=False)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**said, "quantization_config": config}), encoding="utf-8")
    return network.eval()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", sorted(FAMILIES.keys() - {"bitnet"}))
def test_logits_are_those_of_the_true_weights(kind: str, method: str, tmp_path: Path) -> None:
    folder = language.folder(tmp_path / "model", kind, **OTHER.get(kind, {}))
    expected = quantised(folder, method)
    source = HuggingFaceSource()
    model = source.read(str(folder), SourceOptions(), tmp_path / "files")
    network = source.network(model, "float32")
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        a, b = expected(ids).logits, network(ids).logits
    assert bool(a.isfinite().all()) and float(a.std()) > 0
    assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)
