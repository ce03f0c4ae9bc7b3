"""An original that predicts nothing is refused before anything is compiled, and a trained one never is."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from edgekit.tasks.text import misread
from edgekit.tasks.text.misread import counting, on_plain_text, on_text, preferred
from tests import language
from tests.cli.commands import Edgekit, receipt
from tests.data import ROOT

RELIEF = ROOT / "samples" / "relief"


def shuffled(path: Path) -> Path:
    """The trained model, the weights of its layers in another order: it computes, and predicts nothing."""
    shutil.copytree(language.stories(), path, copy_function=shutil.copyfile)
    path.chmod(0o755)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    generator = torch.Generator().manual_seed(0)
    for name, tensor in tensors.items():
        if name.endswith("_proj.weight"):
            order = torch.randperm(tensor.numel(), generator=generator)
            tensors[name] = tensor.flatten()[order].reshape(tensor.shape)
    save_file(tensors, path / "model.safetensors", {"format": "pt"})
    return path


def test_counting_is_witten_and_bells_estimate() -> None:
    """By hand: in the first of 5 nothing is known; then new tokens have the share of kinds in what was seen."""
    found = counting([[0, 0, 1, 0, 2]], lambda window: 0, 5)
    p = [1 / 2, (1 / 3) / 4, 2 / 5, (2 / 6) / 3]
    assert found.tolist() == pytest.approx([-math.log(v) for v in p])
    later = counting([[0, 0, 1], [0, 2]], lambda window: 0, 5)  # goes on in the next window
    assert later.tolist() == pytest.approx([-math.log(v) for v in (p[0], p[1], p[3])])


def test_a_guess_that_counts_sums_to_one() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 9, 40).tolist()
    whole = sum(math.exp(-counting([[*before, t]], lambda w: len(w) - 2, 12)[-1]) for t in range(12))
    assert whole == pytest.approx(1)


@pytest.mark.parametrize(
    ("nll", "words"),
    [
        (np.full(200, 5.0), "how often each token"),
        (np.full(200, 7.0), "how often"),
        (np.full(200, np.nan), "how often"),
    ],
)
def test_worse_than_counting_is_no_prediction(nll: Any, words: str) -> None:
    found = on_text("m", "t.txt", nll, np.full(200, 4.0), 512)
    assert found is not None and words in found.seen and "t.txt" in found.seen
    assert on_text("m", "t.txt", np.full(200, 3.0), np.full(200, 4.0), 512) is None


def test_what_may_be_chance_is_not_refused() -> None:
    few = np.random.default_rng(0).normal(4.05, 2, 30)
    assert on_text("m", "t.txt", few, np.full(30, 4.0), 512) is None


def _network(folder: Path) -> tuple[Any, list[int]]:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return network.eval(), tokenizer.encode(misread.TEXT).ids[:512]


def test_a_trained_network_prefers_what_follows() -> None:
    share, error = preferred(*_network(language.stories()))
    assert share > 0.9 and error < 0.01


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma", "phi3"])
def test_a_random_network_does_not(kind: str, tmp_path: Path) -> None:
    network, ids = _network(language.folder(tmp_path / "m", kind))
    share, _ = preferred(network, ids[:256])
    assert 0.4 < share < 0.6
    assert on_plain_text("m", network, ids[:256]) is not None


def test_neither_does_one_whose_weights_are_others(tmp_path: Path) -> None:
    found = on_plain_text("m", *_network(shuffled(tmp_path / "m")))
    assert found is not None and "chance is 50%" in found.likely


def test_one_that_only_repeats_does_not() -> None:
    """All layers next to nothing: what comes out is the token itself, which frequent tokens often follow."""
    network, ids = _network(language.stories())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("_proj.weight"):
                parameter.normal_(0, 0.02)
    assert on_plain_text("m", network, ids) is not None


@pytest.mark.parametrize("given", [True, False])
def test_it_is_refused_before_it_is_compiled(given: bool, edgekit: Edgekit, tmp_path: Path) -> None:
    folder = shuffled(tmp_path / "model")
    words = ("--eval", language.stories_text(), "--eval-windows", 1) if given else ()
    command = ("convert", folder, "-p", "fp32", "--launches", 0, *words, "-o", tmp_path / "out")
    ran = edgekit(*command)
    assert ran.code == 5 and "predicts text no better than a guess" in ran.err
    assert ("against" if given else "chance is 50%") in ran.err and "--allow misread" in ran.err
    assert not (tmp_path / "out").exists()
    ran = edgekit(*command, "--allow", "misread", "--json")
    assert ran.code == 0, ran.err + ran.out
    made = receipt(Path(ran.json["packages"][0]["path"]))
    assert made["verdict"] == "allowed: misread"
    assert [t["reason"] for t in made["trips"]] == ["misread"] and "no better than a guess" in made["trips"][0][
        "message"
    ]


def test_the_projects_own_model_passes_without_a_text(edgekit: Edgekit, tmp_path: Path) -> None:
    """It was trained on another kind of text than the one that is tried."""
    ran = edgekit("convert", RELIEF / "model", "--launches", 0, "--name", "relief", "-o", tmp_path, "--json")
    assert ran.code == 0, ran.err + ran.out
    made = ran.json["packages"][0]["receipt"]
    assert not made["trips"]
    (counted,) = (m["value"] for m in made["measurements"] if m["name"] == "parameters")
    assert counted == 3217920  # of the network, which its README names; not of the bytes they are packed in
    assert made["steps"][0].startswith("edgekit convert model -t cpu --name relief --launches 0")
    assert "edgekit.backends.worker" in made["steps"][1]


def test_a_text_of_another_kind_says_that_it_may_be_one(edgekit: Edgekit, tmp_path: Path) -> None:
    text = language.text_file(tmp_path / "text.txt", 400)
    ran = edgekit("convert", RELIEF / "model", "--eval", text, "--launches", 0, "-o", tmp_path / "out", "--json")
    assert ran.code == 5, ran.out
    said = json.loads(ran.out)
    assert "a kind it was not trained on: of plain English, it puts" in said["why"]
    assert "--eval TEXT of the kind" in said["next"]
