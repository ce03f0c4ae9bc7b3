"""Folders that quantise each layer in a way of its own: read by their tensors, to the bit or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgekit.errors import SourceError
from edgekit.layers.packed import PackedLinear
from edgekit.model import CheckpointModel
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from edgekit.sources.quantised import compressed, gptq
from edgekit.sources.quantised.layer import Integers, Parts
from edgekit.sources.quantised.stated import Stated
from tests import quantised_folders as folders
from tests.quantised_folders import KINDS

GPTQ, PACKED, TWO = "gptq, 4 bits", "compressed, 4 bits in groups", "compressed, two groups"
DOWN = "model.layers.1.mlp.down_proj"


def read(folder: Path, into: Path) -> tuple[CheckpointModel, Any]:
    source = HuggingFaceSource()
    model = source.read(str(folder), SourceOptions(), into)
    return model, source.network(model, "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_each_layer_has_the_weights_that_its_tensors_stand_for(kind: str, tmp_path: Path) -> None:
    expected = folders.write(tmp_path / "model", KINDS[kind])
    model, network = read(tmp_path / "model", tmp_path / "files")
    layers = {f"{n}.weight": m for n, m in network.named_modules() if n.endswith("_proj")}
    assert len(layers) == 35
    for name, layer in layers.items():
        assert torch.allclose(layer.weight, expected[name], rtol=1e-6, atol=1e-7), name
    assert any(isinstance(m, PackedLinear) for m in layers.values()) == KINDS[kind].kept
    logical = sum(t.numel() for t in expected.values())  # however few elements they are stored in
    assert model.source.parameters == logical
    said = json.loads((tmp_path / "files/config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in said  # libraries act on it


def changed(
    tmp_path: Path, kind: str, config: Callable[[dict[str, Any]], object] | None = None, **tensors: Any
) -> Path:
    """A folder whose config, or whose tensors of one layer, are others; None: without it."""
    folder = tmp_path / "model"
    folders.write(folder, KINDS[kind])
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config:
        config(data["quantization_config"])
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    held = load_file(folder / "model.safetensors")
    for part, change in tensors.items():
        found = held.pop(f"{DOWN}.{part}", None)
        if change is not None:
            held[f"{DOWN}.{part}"] = change(found).contiguous()
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    return folder


def cut(rows: int, columns: int | None = None) -> Callable[[Tensor], Tensor]:
    return lambda t: t[:rows, :columns] if columns else t[:rows]


MISFITS: dict[str, tuple[str, dict[str, Any], str]] = {
    "fewer rows of words": (GPTQ, {"qweight": cut(23)}, "qweight does not fit its layer of 64x192"),
    "more rows of words": (GPTQ, {"qweight": lambda t: torch.cat([t, t[:1]])}, "qweight does not fit"),
    "another number of outputs": (GPTQ, {"qweight": cut(24, 56)}, "qweight does not fit"),
    "words of floats": (GPTQ, {"qweight": lambda t: t.float()}, "qweight does not fit"),
    "zero points for fewer outputs": (GPTQ, {"qzeros": cut(3, 7)}, "qzeros does not fit"),
    "zero points for fewer groups": (GPTQ, {"qzeros": cut(2)}, "qzeros does not fit"),
    "scales of fewer groups": (GPTQ, {"scales": cut(2), "qzeros": cut(2)}, "g_idx does not fit its layer's scales"),
    "scales of fewer groups, by number": (
        GPTQ,
        {"scales": cut(2), "qzeros": cut(2), "g_idx": None},
        "2 groups of its 192",
    ),
    "scales for fewer outputs": (GPTQ, {"scales": cut(3, 60)}, "scales does not fit"),
    "groups for fewer inputs": (GPTQ, {"g_idx": cut(191)}, "g_idx does not fit"),
    "groups that are none": (GPTQ, {"g_idx": lambda t: t + 1}, "g_idx does not fit its layer's scales"),
    "scales that are no numbers": (
        GPTQ,
        {"scales": lambda t: t * torch.nan},
        "scales holds values that are no numbers",
    ),
    "groups out of order, not said which": ("gptq, desc_act", {"g_idx": None}, "out of order, and g_idx is missing"),
    "groups out of order, not filled in": ("gptq, desc_act", {"g_idx": lambda t: t * 0}, "g_idx is not filled in"),
    "no zero points": (GPTQ, {"qzeros": None}, "lacks model.layers.1.mlp.down_proj.qzeros"),
    "awq in gptq's order": ("awq", {"qweight": lambda t: t.reshape(24, 64)}, "qweight does not fit"),
    "awq, fewer zero points": ("awq", {"qzeros": cut(3, 7)}, "qzeros does not fit"),
    "fewer packed words": (PACKED, {"weight_packed": cut(64, 23)}, "weight_packed does not fit"),
    "another weight's shape": (PACKED, {"weight_shape": lambda t: t + 1}, "by its own weight_shape"),
    "scales of another group": (PACKED, {"weight_scale": cut(64, 2)}, "2 groups of its 192 inputs"),
    "scales for fewer outputs, packed": (PACKED, {"weight_scale": cut(60)}, "weight_scale does not fit"),
    "no zero point": ("compressed, with zero points", {"weight_zero_point": None}, "lacks .*weight_zero_point"),
    "fewer zero points": (
        "compressed, with zero points",
        {"weight_zero_point": cut(7)},
        "weight_zero_point does not fit",
    ),
    "something more": (PACKED, {"weight_global_scale": lambda _: torch.ones(1)}, "weight_global_scale is left over"),
    "fewer bytes": ("nf4", {"weight": cut(100)}, "weight does not fit"),
    "fewer scales": ("nf4", {"weight.absmax": cut(100)}, r"weight.absmax does not fit"),
    "scales of another table": ("int8", {"SCB": cut(60)}, "SCB does not fit"),
    "rows for a kernel": (
        "int8",
        {"weight_format": lambda _: torch.ones(1, dtype=torch.uint8)},
        "ordered for a kernel",
    ),
    "floats without a scale": ("fp8 in blocks", {"weight_scale_inv": None}, "is float8_e4m3fn of .* without scales"),
    "bytes without a scale": ("int8", {"SCB": None}, "is int8 of .* without scales"),
    "scales of a layer for each output": (
        "fp8, a scale a layer",
        {"weight_scale": lambda _: torch.ones(64)},
        "one scale for",
    ),
    "fewer blocks": ("fp8 in blocks", {"weight_scale_inv": cut(1)}, "weight_scale_inv does not fit"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_what_does_not_fit_its_layer_is_refused(name: str, tmp_path: Path) -> None:
    kind, tensors, words = MISFITS[name]
    with pytest.raises(SourceError) as caught:
        read(changed(tmp_path, kind, **tensors), tmp_path / "files")
    assert re.search(words, f"{caught.value}"), caught.value
    assert caught.value.next


def settings(**given: Any) -> Callable[[dict[str, Any]], object]:
    return lambda said: said.update(given)


def group(**given: Any) -> Callable[[dict[str, Any]], object]:
    return lambda said: said["config_groups"]["group_0"].update(given)


UNREAD: dict[str, tuple[str, Callable[[dict[str, Any]], object], str]] = {
    "another width": (GPTQ, settings(bits=8), "says 8 bits, and .*qweight holds 4"),
    "a width of no layer": (GPTQ, settings(bits=5), "5 bits"),
    "a kernel's layout": (GPTQ, settings(checkpoint_format="marlin"), "format 'marlin'"),
    "a kernel's layout, by a switch": (GPTQ, settings(is_marlin_format=True), "Marlin kernel"),
    "floats, packed": (PACKED, group(weights={"num_bits": 4, "type": "float"}), "says floats, and .* is of integers"),
    "another packing": ("awq", settings(version="gemv"), "version 'gemv'"),
    "another width, packed": (PACKED, group(weights={"num_bits": 8, "type": "int"}), "says 8 bits, and .* holds 4"),
    "a format of other hardware": (PACKED, settings(format="nvfp4-pack-quantized"), "format 'nvfp4-pack-quantized'"),
    "sparse": (PACKED, settings(sparsity_config={"format": "sparse-24-bitmask"}), "with sparse weights"),
    "sparse, for a kernel": (PACKED, settings(format="marlin-24"), "format 'marlin-24'"),
    "rotated": (PACKED, settings(transform_config={"config_groups": {"u": {"type": "hadamard"}}}), "rotated weights"),
    "hqq": (GPTQ, settings(quant_method="hqq"), "quant_method 'hqq'"),
    "no method": (GPTQ, settings(quant_method=None), "quant_method ''"),
    "a list of methods": (GPTQ, settings(quant_method=["gptq"]), "quant_method"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_said_by_name(name: str, tmp_path: Path) -> None:
    kind, change, words = UNREAD[name]
    with pytest.raises(SourceError, match="does not read") as caught:
        read(changed(tmp_path, kind, change), tmp_path / "files")
    assert re.search(words, caught.value.why), caught.value
    assert "float original" in caught.value.next


def test_an_order_that_is_stated_must_be_there(tmp_path: Path) -> None:
    """Of compressed-tensors: `group` is not told without weight_g_idx, `static` and `weight` are."""
    for kind, read_all in (("group", False), ("static", True), ("weight", True)):
        said = {"num_bits": 4, "type": "int", "group_size": 64, "actorder": kind}
        (tmp_path / kind).mkdir()
        folder = changed(tmp_path / kind, PACKED, group(weights=said))
        if read_all:
            read(folder, tmp_path / kind / "files")
            continue
        with pytest.raises(SourceError, match="out of order, and weight_g_idx is missing"):
            read(folder, tmp_path / kind / "files")


def test_integers_that_nothing_explains_are_no_weights(tmp_path: Path) -> None:
    folder = changed(tmp_path, "compressed, whole bytes")
    data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del data["quantization_config"]
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SourceError, match="does not say what they stand for"):
        read(folder, tmp_path / "files")


def test_settings_beside_the_config_are_read(tmp_path: Path) -> None:
    """As AutoGPTQ wrote them first."""
    expected = folders.write(tmp_path / "model", KINDS[GPTQ])
    data = json.loads((tmp_path / "model/config.json").read_text(encoding="utf-8"))
    said = data.pop("quantization_config")
    (tmp_path / "model/config.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(SourceError, match="does not say how"):
        read(tmp_path / "model", tmp_path / "files")
    (tmp_path / "model/quantize_config.json").write_text(json.dumps(said), encoding="utf-8")
    _, network = read(tmp_path / "model", tmp_path / "files")
    assert torch.allclose(network.get_submodule(DOWN).weight, expected[f"{DOWN}.weight"], atol=1e-7)


def test_a_pattern_that_would_never_end_is_not_followed(tmp_path: Path) -> None:
    endless = {r"+:(\w+\.?)+\!$": {"bits": 8}}
    folder = changed(tmp_path, GPTQ, settings(dynamic=endless))
    assert read(folder, tmp_path / "files")[1] is not None


def _read_gptq(said: dict[str, Any], words: Tensor) -> Integers:
    tensors = {"l.qweight": torch.zeros(4, 8, dtype=torch.int32), "l.qzeros": words, "l.scales": torch.ones(1, 8)}
    found = gptq.read(Stated("gptq", {"bits": 4, "group_size": 32, **said}, "m"), Parts(tensors, "l", 8, 32))
    assert found is not None
    return found


def test_a_zero_point_of_zero_is_stored_in_two_ways() -> None:
    """AutoGPTQ packs each less one; GPTQModel takes one from each of a whole word, and borrows."""
    zeros = torch.tensor([[0, 8, 1, 15, 0, 0, 7, 3]])
    one_by_one = folders.packed((zeros - 1) % 16, 4)
    whole = folders.packed(zeros, 4).long() - 0x11111111
    whole = torch.where(whole < -(2**31), whole + 2**32, whole).int()
    meta = {"meta": {"quantizer": ["gptqmodel:4.0.0"]}}
    assert _read_gptq({}, one_by_one).zeros.T.tolist() == zeros.tolist()
    assert _read_gptq(meta, whole).zeros.T.tolist() == zeros.tolist()
    assert _read_gptq({"checkpoint_format": "gptq_v2"}, folders.packed(zeros, 4)).zeros.T.tolist() == zeros.tolist()


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("whole", [False, True])
def test_widths_that_do_not_divide_a_word_cross_it_or_leave_it(bits: int, whole: bool) -> None:
    """compressed-tensors packs densely since 0.13, and before only as many as fit a word."""
    values = torch.randint(0, 2**bits, (3, 170), generator=torch.Generator().manual_seed(bits))
    each = 32 // bits
    if whole:
        padded = nn.functional.pad(values, (0, -170 % each)).reshape(3, -1, each)
        packed = torch.cat([folders.packed(padded[:, i], bits)[:, :1] for i in range(padded.shape[1])], 1)
    else:
        packed = folders.packed(values, bits)
    said = {"config_groups": {"g": {"weights": {"num_bits": bits, "type": "int", "strategy": "channel"}}}}
    tensors = {"l.weight_packed": packed, "l.weight_scale": torch.ones(3, 1)}
    found = compressed.read(Stated("compressed-tensors", said, "m"), Parts(tensors, "l", 3, 170))
    assert isinstance(found, Integers) and found.values.tolist() == values.tolist() and found.bits == bits


def test_a_last_group_may_be_shorter() -> None:
    weight = torch.randn(8, 172, generator=torch.Generator().manual_seed(0))
    padded, index = nn.functional.pad(weight, (0, 20)), torch.arange(172) // 32
    q, scale, zero = folders.rounded(padded, 8, 32)
    tensors = {
        "l.qweight": folders.packed(q[:, :172], 8).T.contiguous(),
        "l.qzeros": folders.packed(zero.T - 1, 8),
        "l.scales": scale.T.contiguous(),
        "l.g_idx": index.int(),
    }
    found = gptq.read(Stated("gptq", {"bits": 8, "group_size": 32}, "m"), Parts(tensors, "l", 8, 172))
    from edgekit.sources.quantised.reader import _in_blocks

    assert found is not None and found.group == 32 and found.order is None
    expected = folders.true_weight(q[:, :172], scale, zero, index)
    assert torch.allclose(_in_blocks(found, 32).dequantised(), expected, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_precision_is_what_most_kept_layers_have(kind: str, tmp_path: Path) -> None:
    folders.write(tmp_path / "model", KINDS[kind])
    model = HuggingFaceSource().read(str(tmp_path / "model"), SourceOptions(), tmp_path / "files")
    eight = any(k in kind for k in ("8 bits an", "8 bits", "whole bytes", "int8")) and "floats" not in kind
    if KINDS[kind].kept:
        assert model.native == ("w8" if eight else "w4")
    elif "desc_act" not in kind:  # which only its tensors tell
        assert model.native is None
