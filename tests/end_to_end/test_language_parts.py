"""What a package of a language model holds besides its layers: the KV cache, the head, the embedding."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from tokenizers import Tokenizer

from edgekit.conversion.pipeline import convert
from edgekit.errors import UsageError
from edgekit.genai.builder import build
from edgekit.quantize import kv_cache, language, tables
from edgekit.runtime import load_text
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.engines.genai import GenaiSession
from edgekit.sources.base import SourceOptions
from edgekit.sources.huggingface import HuggingFaceSource
from tests import language as models
from tests.cli.commands import Edgekit, measured, receipt

CONTEXT = 128


def quiet(what: str, done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, edgekit: Edgekit) -> dict[str, Path]:
    """A tiny Llama as `fp32` and `w8` with a float cache, and `w8-kv8` and its `fp32-kv8` sibling."""
    out = tmp_path_factory.mktemp("parts")
    source, text = models.folder(out / "llama"), models.text_file(out / "text.txt")
    found = {}
    for folder, more in (("float", ()), ("int8", ("--kv-cache", "int8"))):
        ran = edgekit(
            "convert",
            source,
            "-p",
            "fp32",
            "-p",
            "w8",
            "--context",
            CONTEXT,
            "--eval",
            text,
            "--eval-windows",
            2,
            "--launches",
            0,
            *more,
            *models.RANDOM,
            "-o",
            out / folder,
            "--json",
        )
        assert ran.code == 0, ran.err + ran.out
        for package in ran.json["packages"]:
            found[f"{package['precision']}{'-kv8' if more else ''}"] = Path(package["path"])
    return found


def manifest(package: Path) -> Any:
    return json.loads((package / "manifest.json").read_text(encoding="utf-8"))


def test_an_int8_cache_takes_a_quarter_and_the_receipt_says_so(small: dict[str, Path]) -> None:
    assert small["w8-kv8"].name.endswith("-cpu-w8-kv8")
    model, plain = (manifest(small[n])["model"] for n in ("w8-kv8", "w8"))
    assert (model["kv_cache"], plain["kv_cache"]) == ("int8", "float32")
    stated = measured(receipt(small["w8-kv8"]), "memory")["KV cache"]
    assert stated["value"] == model["kv_cache_bytes"] == plain["kv_cache_bytes"] / 4
    assert "int8" in stated["note"]
    assert "wrote itself" in manifest(small["w8-kv8"])["toolchain"]["settings"]["kv_cache"]["decided_on"]


def test_a_float_package_keeps_a_float_cache(small: dict[str, Path]) -> None:
    """It is what the others are compared with."""
    assert manifest(small["fp32-kv8"])["files"] == manifest(small["fp32"])["files"]


def test_with_an_int8_cache_batches_and_turns_give_what_they_give_alone(small: dict[str, Path]) -> None:
    prompts = ["Once", "the cat sat on the mats and", "said the fox"]
    with load_text(small["w8-kv8"]) as llm:
        alone = [llm.generate(p, max_tokens=12).tokens for p in prompts]
        assert [t.tokens for t in llm.generate(prompts, max_tokens=12)] == alone
        talk = [{"role": "user", "content": "Hello there"}]
        first = llm.chat(talk, max_tokens=6)
        talk += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "And?"}]
        second = llm.chat(talk, max_tokens=6)
        assert second.read < second.prompt_tokens
        llm.reset()
        assert llm.chat(talk, max_tokens=6).tokens == second.tokens
    with load_text(small["w8-kv8"]) as llm:  # to the last token of the context
        full = llm.generate("cat " * 60, max_tokens=200, overflow="error")
        assert full.prompt_tokens + len(full.tokens) == CONTEXT + 1


class Rounding:
    """transformers' own cache, with what it keeps rounded to int8 by given scales."""

    def __init__(self, scales: kv_cache.CacheScales) -> None:
        from transformers.cache_utils import DynamicCache, DynamicLayer

        self.cache, plain = DynamicCache(), DynamicLayer.update

        def update(layer: Any, keys: Any, values: Any, *more: Any, **given: Any) -> Any:
            index = [x is layer for x in self.cache.layers].index(True)
            rounded = [
                (x / (s := own[index].view(1, x.shape[1], 1, -1))).round().clamp(-128, 127) * s
                for x, own in ((keys, scales.keys), (values, scales.values))
            ]
            return plain(layer, *rounded, *more, **given)

        self.update = update


def test_the_engine_computes_what_transformers_does_with_a_rounded_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained model over its whole context: the prompt at once, then token by token."""
    source = HuggingFaceSource()
    model = source.read(str(models.stories()), SourceOptions(), tmp_path / "files")
    network = source.network(model, "float32")
    backend = Tokenizer.from_file(str(model.folder / "tokenizer.json"))
    ids = backend.encode(models.stories_text().read_text(encoding="utf-8")).ids[:300]
    texts = [torch.tensor(ids[i : i + 100]) for i in range(0, 300, 50)]
    scales = kv_cache.scales(network, texts, model.spec.context_length, quiet)
    build(network, model.folder, tmp_path / "package", model.spec.context_length, cache=scales)
    rounding = Rounding(scales)
    with torch.no_grad():
        plain = network(torch.tensor([ids])).logits[0].double().log_softmax(-1).numpy()
        monkeypatch.setattr("transformers.cache_utils.DynamicLayer.update", rounding.update)
        kept = network(torch.tensor([ids]), past_key_values=rounding.cache, use_cache=True)
    expected = kept.logits[0].double().log_softmax(-1).numpy()
    session = GenaiSession(tmp_path / "package", model.spec, EngineOptions(1))
    session.start(ids[:150])
    divergences = []
    for position in range(150, 300):
        logits = session.logits().astype(np.float64)
        seen = logits - np.log(np.exp(logits).sum())
        wanted, whole = expected[position - 1], plain[position - 1]
        divergences.append([(np.exp(p) * (p - seen)).sum() for p in (wanted, whole)])
        session.append([ids[position]])
    rounded, float_ = np.mean(divergences, 0)
    assert rounded < 1e-4 < float_ < 5e-3


def test_keys_are_measured_wherever_they_may_stand(tmp_path: Path) -> None:
    """Channels that turn slowly hold other values at the end of the context than at its beginning."""
    source = HuggingFaceSource()
    model = source.read(str(models.folder(tmp_path / "m")), SourceOptions(context=256), tmp_path / "files")
    network = source.network(model, "float32")
    text = torch.arange(10, 40)
    texts = [text] * 12
    found = kv_cache.scales(network, texts, 256, quiet)
    with torch.no_grad():
        for start in (0, 100, 226):
            at = torch.arange(start, start + 30)[None]
            kept = network(text[None], position_ids=at, use_cache=True).past_key_values
            for layer, keys in zip(kept.layers, found.keys, strict=True):
                assert (layer.keys[0].abs().amax(1).flatten() <= 127.5 * keys).all()


_MEMORY = """
import sys
from edgekit.runtime import load_text
def resident():
    return next(int(x.split()[1]) for x in open("/proc/self/status") if x.startswith("VmRSS"))
with load_text(sys.argv[1]) as llm:
    before = resident()
    llm.generate("the cat", max_tokens=2)
    print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_memory_that_is_stated_is_what_is_taken(tmp_path: Path) -> None:
    sizes = {"num_hidden_layers": 4, "num_key_value_heads": 4, "head_dim": 64, "max_position_embeddings": 8192}
    source = models.folder(tmp_path / "m", **sizes)
    taken = []
    for kind in ("fp32", "int8"):
        (made,) = convert(
            source,
            precisions=["w8"],
            out=tmp_path,
            launches=0,
            text={"kv_cache": kind},
            options=SourceOptions(context=8192),
            allow=["misread"],
        )
        assert made.path is not None
        stated = manifest(made.path)["model"]["kv_cache_bytes"]
        ran = subprocess.run(
            [sys.executable, "-c", _MEMORY, str(made.path)],
            capture_output=True,
            text=True,
            check=True,
            encoding="utf-8",
            errors="replace",
        )
        taken.append(int(ran.stdout) * 1024)
        assert stated < taken[-1] < stated + 12e6  # and a little for reading
    assert taken[0] - taken[1] > 45e6


KINDS = [("w4", "w4"), ("w4", "w8"), ("w8", "w4"), ("w8", "w8"), ("fp32", "w4"), ("w4", "fp32"), ("fp32", "fp32")]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(("head", "embedding"), KINDS)
def test_head_and_embedding_are_what_was_asked(head: str, embedding: str, tied: bool, tmp_path: Path) -> None:
    """The package computes what transformers does with the same numbers; equal tables are stored once."""
    source = HuggingFaceSource()
    folder = models.folder(tmp_path / "m", tie_word_embeddings=tied)
    model = source.read(str(folder), SourceOptions(context=64), tmp_path / "files")
    network = source.network(model, "float32")
    fixed = tables.head_bits(network, head, "")
    language.apply(network, language.round_all(network, 8, 32, quiet, fixed=fixed))
    said = tables.settle_embedding(network, embedding, tied)
    once = tied and head == embedding
    assert said == {"head": head, "embedding": embedding + (", the head's" if once else "")}
    build(network, model.folder, tmp_path / "package", 64)
    values = network.get_input_embeddings().weight.numel()
    each = {"w4": values / 2 + values / 8, "w8": values + values / 8, "fp32": values * 4}
    assert _stored(tmp_path / "package") == each[head] + (0 if once else each[embedding])
    table = network.get_input_embeddings()
    if hasattr(table, "packed"):
        table.weight = torch.nn.Parameter(table.packed.dequantised(), requires_grad=False)
    ids = np.random.default_rng(0).integers(4, 300, 30).tolist()
    with torch.no_grad():
        expected = network(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1).numpy()
    session = GenaiSession(tmp_path / "package", model.spec, EngineOptions(1))
    session.start(ids)
    logits = session.logits().astype(np.float64)
    seen = logits - np.log(np.exp(logits).sum())
    assert float((np.exp(expected) * (expected - seen)).sum()) < 2e-3


def _stored(package: Path) -> int:
    """Bytes of what is as long as the vocabulary."""
    graph = onnx.load(str(package / "model.onnx"), load_external_data=False).graph
    tables_ = [t for t in graph.initializer if t.name.startswith(("lm_head", "model.embed_tokens"))]
    return sum(math.prod(t.dims) * (1 if t.data_type == onnx.TensorProto.UINT8 else 4) for t in tables_)


def test_ternary_packages_take_a_smaller_head(text_packages: dict[str, Path], edgekit: Edgekit, tmp_path: Path) -> None:
    source = text_packages["ternary"].parent.parent / "bitnet"
    ran = edgekit("convert", source, "--head", "w4", *models.RANDOM, "--launches", 0, "-o", tmp_path, "--json")
    assert ran.code == 0, ran.err + ran.out
    made = manifest(Path(ran.json["packages"][0]["path"]))
    plain = manifest(text_packages["ternary"])["toolchain"]["settings"]
    assert (plain["head"], plain["embedding"]) == ("w8", "w8, the head's")
    settings = made["toolchain"]["settings"]
    assert (settings["head"], settings["embedding"]) == ("w4", "w4, the head's")


def test_fp16_is_half_the_size_and_the_same_text(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(
        "convert",
        models.stories(),
        "-p",
        "fp32",
        "-p",
        "fp16",
        "--eval",
        models.stories_text(),
        "--eval-windows",
        1,
        "--launches",
        0,
        "-o",
        tmp_path,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    fp32, fp16 = (Path(p["path"]) for p in ran.json["packages"])
    sizes = [(p / "model.onnx.data").stat().st_size for p in (fp32, fp16)]
    assert sizes[1] < 0.52 * sizes[0]
    divergence = measured(receipt(fp16), "accuracy")["KL divergence"]["value"]
    assert 0 < divergence < 1e-5
    texts = []
    for package in (fp32, fp16):
        with load_text(package) as llm:
            texts.append(llm.generate("Once upon a time", max_tokens=60).text)
    assert texts[0] == texts[1]


def test_weights_beyond_16_bits_stay_as_they_are(tmp_path: Path) -> None:
    source = HuggingFaceSource()
    model = source.read(str(models.folder(tmp_path / "m")), SourceOptions(context=64), tmp_path / "files")
    network = source.network(model, "float32")
    with torch.no_grad():  # of the same function, with one matrix far larger and the next far smaller
        network.model.layers[0].mlp.up_proj.weight.mul_(2.0**22)
        network.model.layers[0].mlp.down_proj.weight.mul_(2.0**-22)
        ids = np.random.default_rng(0).integers(4, 300, 30).tolist()
        expected = network(torch.tensor([ids])).logits[0, -1].numpy()
    build(network, model.folder, tmp_path / "package", 64, store_half=True)
    session = GenaiSession(tmp_path / "package", model.spec, EngineOptions(1))
    session.start(ids)
    assert np.abs(session.logits() - expected).max() < 0.01 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-p", "fp32", "--kv-cache", "int8"), "--kv-cache is for quantised packages"),
        (("-p", "fp32", "--head", "w4"), "--head is for quantised packages"),
        (("--kv-cache", "int4"), "'int4' is not one of"),
        (("--embedding", "w2"), "'w2' is not one of"),
    ],
)
def test_what_means_nothing_is_refused(
    words: tuple[str, ...], said: str, text_packages: dict[str, Path], edgekit: Edgekit, tmp_path: Path
) -> None:
    source = text_packages["fp32"].parent.parent / "llama"
    ran = edgekit("convert", source, *words, "-o", tmp_path / "out")
    assert ran.code == 2 and said in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("name", "value"), [("kv_cache", "int4"), ("head", "8"), ("embedding", "w2")])
def test_so_it_is_in_python(name: str, value: str, text_packages: dict[str, Path]) -> None:
    source = text_packages["fp32"].parent.parent / "llama"
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} {value} is not known"):
        convert(source, text={name: value})
