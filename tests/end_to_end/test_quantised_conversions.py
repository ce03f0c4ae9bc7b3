"""Folders quantised by plain formulae, as packages: their perplexity is that of the weights they stand for.

`python -m tests.quantised_folders` prints all kinds; tests/unit compares the weights of each.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import language, quantised_folders
from tests.cli.commands import Edgekit, measured, receipt

FEW = {  # one of each way to store them, and those that name layers
    "gptq, 4 bits": "w4",
    "gptq, 4 bits, v2": "w4",
    "gptq, dynamic": "w4",
    "gptq, desc_act": "",
    "awq": "w4",
    "compressed, with zero points": "w4",
    "compressed, 8 bits an output": "w8",
    "compressed, two groups": "w4",
    "nf4": "",
    "int8": "w8",
    "fp8 in blocks": "",
}


QUICK = ("gptq, dynamic", "awq", "compressed, two groups", "nf4")


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(k, marks=pytest.mark.slow) for k in FEW if k not in QUICK)])
def test_a_package_predicts_what_the_true_weights_do(kind: str, edgekit: Edgekit, tmp_path: Path) -> None:
    weights = quantised_folders.write(tmp_path / "model", quantised_folders.KINDS[kind])
    expected = quantised_folders.true_perplexity(weights, quantised_folders.windows())
    own = FEW[kind]
    words = ("-p", "fp32", *(("-p", own) if own else ()))
    ran = edgekit(
        "convert",
        tmp_path / "model",
        *words,
        "--eval",
        language.stories_text(),
        "--eval-windows",
        2,
        "--launches",
        0,
        "-o",
        tmp_path / "out",
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    made = {p["precision"]: Path(p["path"]) for p in ran.json["packages"]}
    found = {n: measured(receipt(p), "accuracy") for n, p in made.items()}
    print(kind, f"{expected:.4f}", {n: round(f["perplexity"]["value"], 4) for n, f in found.items()})
    assert 3.3 < expected < 4.2
    assert found["fp32"]["perplexity"]["value"] == pytest.approx(expected, rel=1e-5)
    assert found["fp32"]["float perplexity"]["value"] == pytest.approx(expected, rel=1e-5)
    if own:  # the layers keep their integers: what is lost is the head's rounding, and the inputs'
        assert found[own]["KL divergence"]["value"] < 0.01
        assert found[own]["perplexity"]["value"] == pytest.approx(expected, rel=0.02)
        assert any("keep the checkpoint's own integers" in n for n in receipt(made[own])["notes"])
    manifest = json.loads((made["fp32"] / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["source"]["parameters"] == sum(t.numel() for t in weights.values())
    assert "quantization_config" not in "".join(p.read_text(encoding="utf-8") for p in made["fp32"].glob("*.json"))


def test_layers_of_two_widths_keep_theirs(tmp_path: Path) -> None:
    from edgekit.layers.packed import PackedLinear
    from edgekit.sources.base import SourceOptions
    from edgekit.sources.huggingface import HuggingFaceSource

    for kind in ("gptq, dynamic", "compressed, two groups"):
        quantised_folders.write(tmp_path / kind, quantised_folders.KINDS[kind])
        source = HuggingFaceSource()
        model = source.read(str(tmp_path / kind), SourceOptions(), tmp_path / f"{kind} files")
        network = source.network(model, "float32")
        kept = {n: m.packed for n, m in network.named_modules() if isinstance(m, PackedLinear)}
        assert {p.bits for n, p in kept.items() if "down_proj" in n} == {8}
        assert {p.bits for n, p in kept.items() if "down_proj" not in n} == {4}
        assert any(".0." in n for n in kept) == (kind != "gptq, dynamic")
        assert model.native == "w4"
