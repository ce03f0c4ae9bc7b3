"""A config.json of another model: what its network has no place for is missed, and not left out with a warning."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from edgekit.errors import SourceError
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language, quantised_folders

LAYER = "model.layers.0"
Tensors = dict[str, torch.Tensor]


def folder(path: Path, quantised: bool) -> Path:
    if quantised:
        kinds = quantised_folders.KINDS
        quantised_folders.write(path, kinds["gptq, dynamic"])  # layer 0 is float
    else:
        shutil.copytree(language.stories(), path, copy_function=shutil.copyfile)
        path.chmod(0o755)
    return path


def changed(path: Path, tensors: Callable[[Tensors], object], **config: Any) -> Path:
    held = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    tensors(held)
    save_file(held, path / "model.safetensors", {"format": "pt"})
    said = json.loads((path / "config.json").read_text(encoding="utf-8"))
    (path / "config.json").write_text(json.dumps({**said, **config}), encoding="utf-8")
    return path


def network(path: Path) -> Any:
    source = HuggingFaceSource()
    return source.network(source.read(str(path), SourceOptions(), path.parent / "files"), "float32")


def more(name: str, *shape: int) -> Callable[[Tensors], object]:
    return lambda held: held.update({name: torch.ones(shape)})


ANOTHER: dict[str, tuple[Callable[[Tensors], object], dict[str, Any]]] = {
    "a layer more": (lambda _: None, {"num_hidden_layers": 4}),
    "a bias": (more(f"{LAYER}.self_attn.q_proj.bias", 64), {}),
    "a norm": (more(f"{LAYER}.self_attn.q_norm.weight", 8), {}),
    "an adapter": (more(f"{LAYER}.self_attn.q_proj.lora_A.weight", 4, 64), {}),
}


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("kind", ANOTHER)
def test_parts_of_another_network_are_refused(kind: str, quantised: bool, tmp_path: Path) -> None:
    tensors, config = ANOTHER[kind]
    path = changed(folder(tmp_path / "model", quantised), tensors, **config)
    with pytest.raises(SourceError, match=r"no place for|left over"):
        network(path)


HARMLESS: dict[str, Callable[[Tensors], object]] = {
    "what is computed anew": more(f"{LAYER}.self_attn.rotary_emb.inv_freq", 4),
    "a tower beside it": more("vision_tower.patches.weight", 4, 4),
}


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("kind", HARMLESS)
def test_what_has_no_effect_is_left_out(kind: str, quantised: bool, tmp_path: Path) -> None:
    assert network(changed(folder(tmp_path / "model", quantised), HARMLESS[kind])) is not None


def test_biases_of_zero_change_nothing(tmp_path: Path) -> None:
    """As AutoGPTQ writes them for every layer."""
    tensors = {f"{LAYER}.self_attn.{p}_proj.bias": torch.zeros(n) for p, n in (("q", 64), ("k", 32))}
    assert network(changed(folder(tmp_path / "model", True), lambda held: held.update(tensors)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("quantised", [False, True])
def test_weights_that_are_no_numbers_are_damage(value: float, quantised: bool, tmp_path: Path) -> None:
    """Even of a token that no text has."""

    def damage(held: Tensors) -> None:
        held["model.embed_tokens.weight"][400, 3] = value

    path = changed(folder(tmp_path / "model", quantised), damage)
    with pytest.raises(SourceError, match=r"is damaged") as caught:
        network(path)
    assert "model.embed_tokens.weight" in caught.value.why


def test_an_architecture_of_another_kind_is_a_contradiction(tmp_path: Path) -> None:
    path = changed(folder(tmp_path / "model", False), lambda _: None, architectures=["GemmaForCausalLM"])
    with pytest.raises(SourceError, match="names two kinds of models"):
        network(path)
