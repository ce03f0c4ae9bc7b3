"""A trained language model for a Snapdragon, compiled by Qualcomm's compiler, run in its simulator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import edgekit as sdk
from edgekit.errors import DeviceError, UsageError
from edgekit.runtime import load
from edgekit.sources.base import SourceOptions
from tests.cli.commands import Edgekit, manifest, measured, receipt
from tests.emulator import Emulator
from tests.language import stories, stories_text

pytest.importorskip("onnxruntime_qnn")
pytest.importorskip("onnxruntime_genai")

CONTEXT = 64
PROMPT = "Once upon a time, there was a little girl named"


@pytest.fixture(scope="module")
def made(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    ran = edgekit(
        "convert",
        stories(),
        "-t",
        "snapdragon-8-elite",
        "-p",
        "fp16",
        "--context",
        CONTEXT,
        "--eval",
        stories_text(),
        "--name",
        "stories",
        "-o",
        out,
    )
    assert ran.code == 0, ran.err
    return out / "stories-snapdragon-8-elite-fp16"


@pytest.fixture(scope="module")
def simulated(made: Path) -> Iterator[Any]:
    with load(made, simulate=True) as llm:
        yield llm


def test_two_graphs_for_the_chip_and_one_for_the_cpu(made: Path) -> None:
    engine = manifest(made)["engine"]
    assert engine["name"] == "qnn-text" and engine["artifact"] == "SM8750/token-0.onnx"
    assert engine["chips"] == dict.fromkeys(("SM8750", "SM8750P"), "SM8750/token-0.onnx")
    graphs = {n for n in manifest(made)["files"] if n.endswith(".onnx")}
    assert graphs == {"host.onnx", "SM8750/prompt-0.onnx", "SM8750/token-0.onnx"}
    settings = manifest(made)["toolchain"]["settings"]
    assert settings["prompt_step"] == CONTEXT // 2 and settings["parts"] == 1


def test_the_receipt_says_what_the_simulator_computed(made: Path) -> None:
    found = receipt(made)
    accuracy, gates = measured(found, "accuracy"), measured(found, "gate")
    kl = accuracy["KL divergence"]
    assert kl["provenance"] == "simulated" and kl["device"].startswith("sim:htp SM8750")
    assert 0 <= kl["value"] < 1e-3
    assert accuracy["same top token"]["value"] == 1
    assert accuracy["greedy text equal"]["value"] == 1
    assert gates["prepared graphs on the CPU: logits max error"]["value"] < 1e-3
    assert not [m for m in found["measurements"] if m["group"] == "latency"]
    assert found["verdict"] == "good, as far as checked"
    assert any("speed" in n for n in found["not_checked"])


def test_its_first_tokens_are_those_of_the_float_original(simulated: Any) -> None:
    network = AutoModelForCausalLM.from_pretrained(stories(), dtype=torch.float32).eval()
    ids = [1, *simulated.session.tokenizer.encode(PROMPT)]
    wanted = network.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0, len(ids) :]
    done = simulated.generate(PROMPT, max_tokens=12, temperature=0)
    assert list(done.tokens) == wanted.tolist()
    assert done.read == len(ids)


def test_a_prompt_that_goes_on_is_read_from_where_it_differs(simulated: Any) -> None:
    simulated.generate(PROMPT, max_tokens=1, temperature=0)
    first = list(simulated.session.logits())
    longer = simulated.generate(PROMPT + " Lily", max_tokens=1, temperature=0)
    assert longer.read < 6
    simulated.reset()
    simulated.generate(PROMPT, max_tokens=1, temperature=0)
    assert simulated.session.logits() == pytest.approx(first, abs=0.2)  # another graph read its end


def test_it_stops_when_the_context_is_full(simulated: Any) -> None:
    done = simulated.generate(PROMPT, max_tokens=2 * CONTEXT, temperature=0)
    assert done.finish == "length" and simulated.session.held == CONTEXT


def test_what_this_engine_lacks_is_said(simulated: Any) -> None:
    both = simulated.generate([PROMPT, "The cat"], max_tokens=2)  # one after the other
    assert [g.text for g in both] == [simulated.generate(p, max_tokens=2).text for p in (PROMPT, "The cat")]
    with pytest.raises(UsageError, match="schema"):
        simulated.generate(PROMPT, schema="{}", max_tokens=2)


def test_without_an_npu_it_does_not_run(made: Path) -> None:
    with pytest.raises(DeviceError, match="runs on the NPU"):
        load(made)


def test_a_chip_without_floating_point_takes_no_language_models(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", stories(), "-t", "snapdragon-888", "-o", tmp_path)
    assert ran.code == 2 and "takes no language models" in ran.err


@pytest.mark.slow
def test_4_bits_in_parts(tmp_path: Path) -> None:
    """Small integers, a budget that makes several contexts, and the same text as in one."""
    done = sdk.convert(
        stories(),
        targets=["snapdragon-8-gen-2"],
        precisions=["w4"],
        out=tmp_path,
        eval=stories_text(),
        options=SourceOptions(context=CONTEXT),
        text={"part_bytes": "60000"},
        allow=["accuracy"],
        name="stories",
    )
    package = done[0].path
    assert package is not None and manifest(package)["toolchain"]["settings"]["parts"] > 1
    found = receipt(package)
    assert measured(found, "gate")["prepared graphs on the CPU: logits max error"]["value"] < 1e-3
    assert measured(found, "accuracy")["KL divergence"]["value"] < 0.3
    size = sum(e["bytes"] for n, e in manifest(package)["files"].items() if n.startswith("SM8550/"))
    assert size < 3_000_000


@pytest.mark.slow
def test_by_way_of_ai_hub(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each graph is a compile job of its own; what comes back is run here."""
    command = (
        "convert",
        stories(),
        "-t",
        "snapdragon-8-elite",
        "-p",
        "fp16",
        "--context",
        CONTEXT,
        "--via",
        "aihub",
        "--eval",
        stories_text(),
        "--name",
        "stories",
        "-o",
        tmp_path / "out",
    )
    with Emulator(tmp_path / "hub") as hub:
        monkeypatch.setenv("QAIHUB_CLIENT_INI", str(hub.ini))
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        dry = edgekit(*command, "--dry-run")
        assert dry.code == 0 and "prompt-0.onnx" in dry.out and not (tmp_path / "out").exists()
        assert edgekit(*command, "--link", "--runtime", "qnn_context_binary").code == 2
        ran = edgekit(*command)
    assert ran.code == 0, ran.err
    package = tmp_path / "out" / "stories-snapdragon-8-elite-fp16"
    found = receipt(package)
    assert measured(found, "accuracy")["KL divergence"]["value"] < 1e-3
    assert [r["job"] for r in found["search"] if r["kind"] == "job"] == ["compile", "compile"]
    assert any("emulator" in n for n in found["notes"])
    assert manifest(package)["toolchain"]["versions"]["AI Hub"].startswith("emulated")
