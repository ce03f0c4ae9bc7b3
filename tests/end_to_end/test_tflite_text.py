"""A trained language model for LiteRT, through the command line and the public API."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from edgekit.backends.base import CompileOptions
from edgekit.backends.tflite_text import TfliteTextBackend
from edgekit.conversion.reading import read_model
from edgekit.errors import ConversionError, IntegrityError, MissingError, UsageError
from edgekit.runtime import load
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from edgekit.target import find_target
from tests.cli.commands import Edgekit, manifest, measured, receipt
from tests.data import ROOT
from tests.language import RANDOM, folder, stories, stories_text, text_file

pytest.importorskip("ai_edge_quantizer")
pytest.importorskip("onnxruntime_genai")

CONTEXT = 64
PROMPT = "Once upon a time, there was a little girl named"


@pytest.fixture(scope="module")
def made(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("out")
    ran = edgekit(
        "convert",
        stories(),
        "-t",
        "tflite",
        "-p",
        "fp32",
        "-p",
        "w8",
        "--context",
        CONTEXT,
        "--launches",
        0,
        "--eval",
        stories_text(),
        "--eval-windows",
        4,
        "--name",
        "stories",
        "-o",
        out,
    )
    assert ran.code == 0, ran.err
    return {p: out / f"stories-tflite-{p}" for p in ("fp32", "w8")}


@pytest.fixture(scope="module")
def llm(made: dict[str, Path]) -> Iterator[Any]:
    with load(made["fp32"]) as found:
        yield found


def test_one_file_for_both_graphs(made: dict[str, Path]) -> None:
    found = manifest(made["w8"])
    assert found["engine"]["name"] == "litert-text" and found["engine"]["artifact"] == "model.tflite"
    assert not [n for n in found["files"] if n.endswith((".onnx", ".data"))]
    settings = found["toolchain"]["settings"]
    assert settings["prompt_step"] == CONTEXT // 2 and settings["weights"] == "int8 a channel"


def test_another_step_is_another_package(made: dict[str, Path], edgekit: Edgekit, tmp_path: Path) -> None:
    """Also in float: what was kept of the first is not taken for it. A CPU's has no steps."""
    words = ("--context", CONTEXT, "--launches", 0, "--name", "stories", "-o", tmp_path, "--prompt-step", 8)
    ran = edgekit("convert", stories(), "-t", "tflite", "-t", "cpu", "-p", "fp32", *words)
    assert ran.code == 0, ran.err
    settings = [manifest(tmp_path / f"stories-{t}-fp32")["toolchain"]["settings"] for t in ("tflite", "cpu")]
    assert settings[0]["prompt_step"] == 8 and "prompt_step" not in settings[1]
    refused = edgekit("convert", stories(), "-p", "w4", *words)
    assert refused.code == 2 and "--prompt-step is for packages of fixed sizes" in refused.err


def test_the_command_of_a_number_gives_it_again(made: dict[str, Path]) -> None:
    command = measured(receipt(made["w8"]), "accuracy")["KL divergence"]["command"]
    assert "--eval-windows 4" in command and "--launches 0" in command


@pytest.mark.parametrize(("precision", "limit"), [("fp32", 1e-6), ("w8", 0.02)])
def test_the_receipt_says_how_far_it_is_from_float(precision: str, limit: float, made: dict[str, Path]) -> None:
    found = receipt(made[precision])
    accuracy, gates = measured(found, "accuracy"), measured(found, "gate")
    assert 0 <= accuracy["KL divergence"]["value"] < limit
    assert accuracy["perplexity"]["value"] == pytest.approx(accuracy["float perplexity"]["value"], rel=0.02)
    assert gates["in LiteRT, in float: logits max error"]["value"] < 1e-3
    assert found["verdict"].startswith("good")


def test_it_writes_what_transformers_writes(llm: Any) -> None:
    network = AutoModelForCausalLM.from_pretrained(stories(), dtype=torch.float32).eval()
    ids = [1, *llm.session.tokenizer.encode(PROMPT)]
    wanted = network.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)[0, len(ids) :]
    done = llm.generate(PROMPT, max_tokens=24, temperature=0)
    assert list(done.tokens) == wanted.tolist() and done.read == len(ids)
    assert "".join(llm.stream(PROMPT, max_tokens=24, temperature=0)) == done.text
    both = llm.generate([PROMPT, "The cat"], max_tokens=4, temperature=0)
    assert both[0].tokens == done.tokens[:4]


def test_a_prompt_that_goes_on_is_read_from_where_it_differs(llm: Any) -> None:
    llm.generate(PROMPT, max_tokens=1, temperature=0)
    first = list(llm.session.logits())
    assert llm.generate(PROMPT + " Lily", max_tokens=1, temperature=0).read < 6
    llm.reset()
    llm.generate(PROMPT, max_tokens=1, temperature=0)
    assert llm.session.logits() == pytest.approx(first, abs=1e-3)


def test_it_stops_when_the_context_is_full(llm: Any) -> None:
    done = llm.generate(PROMPT, max_tokens=2 * CONTEXT, temperature=0)
    assert done.finish == "length" and llm.session.held == CONTEXT


def test_what_this_engine_lacks_is_said(llm: Any) -> None:
    with pytest.raises(UsageError, match="schema"):
        llm.generate(PROMPT, schema="{}", max_tokens=2)


def test_the_command_line_and_a_conversation(edgekit: Edgekit, tmp_path: Path) -> None:
    """A model with a chat template of its own, timed as well."""
    source, text = folder(tmp_path / "qwen", "qwen2"), text_file(tmp_path / "text.txt")
    ran = edgekit(
        "convert",
        source,
        "-t",
        "tflite",
        "-p",
        "fp32",
        "--context",
        128,
        "--launches",
        2,
        "--eval",
        text,
        "--eval-windows",
        1,
        "--name",
        "qwen",
        *RANDOM,
        "-o",
        tmp_path,
    )
    assert ran.code == 0, ran.err
    package = tmp_path / "qwen-tflite-fp32"
    assert any(m["group"] == "speed" for m in receipt(package)["measurements"])
    ran = edgekit("generate", package, "-p", "Once", "-n", 5, "--temperature", 0, "--json")
    assert ran.code == 0 and len(ran.json["results"][0]["tokens"]) == 5
    with load(package) as llm:
        answer = llm.chat([{"role": "user", "content": "Hello"}], max_tokens=5, temperature=0)
        assert len(answer.tokens) == 5
        assert llm.chat([{"role": "user", "content": "Hello"}], max_tokens=5, temperature=0).read == 1


def test_a_ternary_model_takes_the_targets_own_precision(edgekit: Edgekit, tmp_path: Path) -> None:
    """BitNet's integers are exact in 8 bits; LiteRT has no kernel for two."""
    sample = ROOT / "samples" / "relief"
    ran = edgekit(
        "convert",
        sample / "model",
        "-t",
        "tflite",
        "--launches",
        0,
        "--eval",
        sample / "heldout.txt",
        "--eval-windows",
        2,
        "--name",
        "relief",
        "-o",
        tmp_path,
    )
    assert ran.code == 0, ran.err
    accuracy = measured(receipt(tmp_path / "relief-tflite-w8"), "accuracy")
    assert accuracy["KL divergence"]["value"] < 0.005
    ran = edgekit("convert", sample / "model", "-t", "tflite", "-p", "ternary", "-o", tmp_path)
    assert ran.code == 2 and "it takes w8, w4, fp32, fp16" in ran.err


def test_a_changed_file_is_not_opened(made: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in made["w8"].iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    data = bytearray((copy / "model.tflite").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.tflite").write_bytes(data)
    with pytest.raises(IntegrityError):
        load(copy)


def test_a_library_that_is_too_old_is_not_believed(made: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.runtime.engines.library_version.version", lambda _: "1.1.2")
    with pytest.raises(MissingError, match=r"ai-edge-litert 1\.2 or later"):
        load(made["w8"])


def test_a_model_beyond_two_gigabytes_is_refused(tmp_path: Path) -> None:
    model = read_model(str(stories()), SourceOptions())
    large = dataclasses.replace(model, source=dataclasses.replace(model.source, parameters=600_000_000))
    with pytest.raises(ConversionError, match="too large for TFLite"):
        TfliteTextBackend().compile(
            large, find_target("tflite"), Precision.W8, CompileOptions(), tmp_path, lambda *_: None
        )
