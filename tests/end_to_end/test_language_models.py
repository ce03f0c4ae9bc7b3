"""Language models from folder to text: a trained one against transformers, BitNet against its own layers."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.runtime import LanguageModel, load, load_text
from tests import language
from tests.cli.commands import Edgekit, measured, receipt

LONG = "Once upon a time, there was a little girl named Lily. She had a big red ball and a small dog."


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory, edgekit: Edgekit) -> dict[str, Path]:
    """The trained model of 260 thousand parameters, as fp32, w8 and w4."""
    out = tmp_path_factory.mktemp("stories")
    ran = edgekit(
        "convert",
        language.stories(),
        "--name",
        "stories",
        "-p",
        "fp32",
        "-p",
        "w8",
        "-p",
        "w4",
        "--bits",
        6,
        "--eval",
        language.stories_text(),
        "--launches",
        0,
        "-o",
        out,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    return {p["precision"]: Path(p["path"]) for p in ran.json["packages"]}


def reference() -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = language.stories()
    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def test_greedy_text_is_that_of_transformers_word_for_word(stories: dict[str, Path]) -> None:
    network, tokenizer = reference()
    with load(stories["fp32"]) as llm:
        for prompt in ("Once upon a time", "The dog", "Lily and Tom went to the park."):
            ids = tokenizer(prompt, return_tensors="pt").input_ids
            with torch.no_grad():
                told = network.generate(ids, max_new_tokens=120, do_sample=False, pad_token_id=0)[0]
            done = llm.generate(prompt, max_tokens=120)
            assert list(done.tokens) == [t for t in told[ids.shape[1] :].tolist() if t not in (1, 2)]
            whole = tokenizer.decode(told, skip_special_tokens=True)
            assert whole == prompt + done.text


def test_quantising_costs_what_the_receipt_says(stories: dict[str, Path]) -> None:
    """Perplexity and divergence against formulae of their own, over the same windows."""
    from edgekit.data.texts import read_texts, windows_of

    network, tokenizer = reference()
    texts = read_texts(language.stories_text())
    windows = windows_of(texts, lambda t: tokenizer(t).input_ids, 512, 16, "t")
    expected, found = [], {p: [] for p in stories}  # type: ignore[var-annotated]
    with torch.no_grad():
        for window in windows:
            scored = network(torch.tensor([window])).logits[0].double().log_softmax(-1)
            expected += [scored[i, window[i + 1]].item() for i in range(len(window) // 2, len(window) - 1)]
    for precision, path in stories.items():
        accuracy = measured(receipt(path), "accuracy")
        found[precision] = [accuracy[n]["value"] for n in ("KL divergence", "perplexity", "same top token")]
        assert accuracy["float perplexity"]["value"] == pytest.approx(np.exp(-np.mean(expected)), rel=1e-5)
        assert accuracy["KL divergence"]["samples"] == len(expected)
    assert found["fp32"][0] < 1e-8 and found["fp32"][2] == 1
    assert found["w8"][0] < 3e-3 < found["w4"][0] < 0.1
    assert found["w4"][1] < 1.15 * found["fp32"][1]
    with load(stories["w8"]) as llm:  # one token of it by hand
        window = windows[0]
        llm.session.start(window[:50])
        p = np.exp(np.float64(llm.session.logits()))
        with torch.no_grad():
            theirs = network(torch.tensor([window[:50]])).logits[0, -1].double().softmax(-1).numpy()
        assert float((theirs * np.log(theirs / (p / p.sum()))).sum()) < 0.05


def test_a_chat_turn_reads_only_what_is_new(text_packages: dict[str, Path]) -> None:
    with load_text(text_packages["fp32"]) as llm:
        talk = [{"role": "user", "content": "Hello there"}]
        first = llm.chat(talk, max_tokens=6)
        talk += [{"role": "assistant", "content": first.text}, {"role": "user", "content": "And?"}]
        second = llm.chat(talk, max_tokens=6)
        assert first.read == first.prompt_tokens
        assert second.read < second.prompt_tokens - first.prompt_tokens + len(first.tokens) + 2
        llm.reset()
        assert llm.chat(talk, max_tokens=6).text == second.text


def test_one_seed_is_one_text_whatever_came_before(text_packages: dict[str, Path]) -> None:
    with load_text(text_packages["w4"]) as llm:
        one = llm.generate("Once", max_tokens=20, temperature=1.0, seed=5)
        llm.generate("Something else", max_tokens=3)
        assert llm.generate("Once", max_tokens=20, temperature=1.0, seed=5).tokens == one.tokens
        assert llm.generate("Once", max_tokens=20, temperature=1.0, seed=6).tokens != one.tokens


def test_a_batch_gives_what_each_prompt_gives_alone(text_packages: dict[str, Path]) -> None:
    prompts = ["Once", "the cat sat on the mats and", LONG[:40]]
    with load_text(text_packages["fp32"]) as llm:
        alone = [llm.generate(p, max_tokens=12) for p in prompts]
        together = llm.generate(prompts, max_tokens=12)
    assert [t.tokens for t in together] == [a.tokens for a in alone]
    assert [t.text for t in together] == [a.text for a in alone]
    assert [t.prompt_tokens for t in together] == [a.prompt_tokens for a in alone]


def test_pieces_are_the_text_and_a_stop_string_ends_it(text_packages: dict[str, Path]) -> None:
    with load_text(text_packages["fp32"]) as llm:
        whole = llm.generate("the cat", max_tokens=30).text
        assert "".join(llm.stream("the cat", max_tokens=30)) == whole
        middle = whole[8:10]
        cut = llm.generate("the cat", max_tokens=30, stop=[middle])
        assert cut.text == whole[: whole.index(middle)] and cut.finish == "stop"


def test_log_probabilities_are_those_of_the_chosen_tokens(text_packages: dict[str, Path]) -> None:
    with load_text(text_packages["fp32"]) as llm:
        done = llm.generate("the cat", max_tokens=4, logprobs=3)
    for score, token in zip(done.scores, done.tokens, strict=True):
        assert score.token == token == score.alternatives[0][0]  # greedy
        values = [a[2] for a in score.alternatives]
        assert score.logprob == values[0] and values == sorted(values, reverse=True) and len(values) == 3


def test_a_schema_constrains_what_is_written(text_packages: dict[str, Path]) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": ["x", "yy"]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    with load_text(text_packages["fp32"]) as llm:
        done = llm.generate("the cat", schema=schema, max_tokens=40)
        assert json.loads(done.text)["a"] in ("x", "yy") and done.finish == "stop"


def test_cancelling_from_another_thread_ends_it(text_packages: dict[str, Path]) -> None:
    with load_text(text_packages["fp32"]) as llm:
        for seen, _ in enumerate(llm.stream("the cat", max_tokens=100)):
            if seen == 1:
                thread = threading.Thread(target=llm.cancel)
                thread.start()
                thread.join()
        assert llm.last is not None and llm.last.finish == "cancelled" and len(llm.last.tokens) < 10
        assert llm.generate("the cat", max_tokens=5).finish == "length"  # and is ready again


def fills(llm: LanguageModel, overflow: str) -> Any:
    return llm.generate(" ".join(["cat"] * 60), max_tokens=200, overflow=overflow)


def test_what_happens_when_the_context_is_full_is_chosen(text_packages: dict[str, Path]) -> None:
    with load_text(text_packages["fp32"]) as llm:
        full = fills(llm, "error")
        assert full.finish == "length" and full.prompt_tokens + len(full.tokens) == llm.spec.context_length + 1
        assert len(fills(llm, "shift").tokens) == 200
        long = " ".join(["cat"] * 400)
        assert llm.generate(long, overflow="truncate", max_tokens=5).finish == "length"
        talk = [
            {"role": "user", "content": "cat " * 40},
            {"role": "assistant", "content": "dog " * 40},
            {"role": "user", "content": "and?"},
        ]
        assert llm.chat(talk, overflow="truncate", max_tokens=3).prompt_tokens < 60


def test_bitnet_exact_is_as_near_as_float_and_fast_is_near(text_packages: dict[str, Path]) -> None:
    exact, fast = (
        measured(receipt(text_packages[n]), "accuracy")["KL divergence"]["value"] for n in ("ternary", "fast")
    )
    assert exact < 5e-3 and fast < 5e-2
    manifest = json.loads((text_packages["ternary"] / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["toolchain"]["settings"]["mode"] == "exact" and manifest["precision"] == "ternary"


def test_bitnets_logits_are_those_of_transformers_own_layers(text_packages: dict[str, Path]) -> None:
    """In float32, which transformers does not load by itself: its layers in its model."""
    from safetensors.torch import load_file
    from transformers import AutoConfig, BitNetForCausalLM
    from transformers.integrations.bitnet import replace_with_bitnet_linear
    from transformers.utils.quantization_config import BitNetQuantConfig

    folder = text_packages["ternary"].parent.parent / "bitnet"
    config = AutoConfig.from_pretrained(folder)
    plain = type(config).from_dict({k: v for k, v in config.to_dict().items() if k != "quantization_config"})
    network = BitNetForCausalLM._from_config(plain, dtype=torch.float32)
    options = BitNetQuantConfig(linear_class="autobitlinear", quantization_mode="online")
    network = replace_with_bitnet_linear(network, ["lm_head"], options)
    weights = {k: v.float() for k, v in load_file(folder / "model.safetensors").items()}
    network.load_state_dict(weights, strict=False, assign=True)
    network.tie_weights()
    torch.compiler.set_stance("force_eager")
    try:
        with load_text(text_packages["ternary"]) as llm, torch.no_grad():
            ids = llm.session.tokenizer.encode(LONG)
            theirs = network.eval()(torch.tensor([ids])).logits[0, -1].double().log_softmax(-1).numpy()
            llm.session.start(ids)
            logits = np.float64(llm.session.logits())
            ours = logits - np.log(np.exp(logits).sum())
        assert float((np.exp(theirs) * (theirs - ours)).sum()) < 1e-2
    finally:
        torch.compiler.set_stance("default")


def test_the_engines_own_interface_opens_a_package(text_packages: dict[str, Path]) -> None:
    """So do its C, C++, C# and Java ones, which read the same folder."""
    import onnxruntime_genai as og

    model = og.Model(str(text_packages["w4"]))
    parameters = og.GeneratorParams(model)
    generator = og.Generator(model, parameters)
    with load_text(text_packages["w4"]) as llm:
        ids = llm.session.tokenizer.encode("the cat")
        expected = llm.generate("the cat", max_tokens=8)
    generator.append_tokens(np.array(ids, np.int32))
    for _ in range(8):
        generator.generate_next_token()
    assert generator.get_sequence(0)[len(ids) :].tolist() == list(expected.tokens)


def test_the_same_source_gives_the_same_bytes(
    text_packages: dict[str, Path], edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With another cache, another order of hashes, and from another folder."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONHASHSEED", "7")
    source = tmp_path / "elsewhere" / "llama"
    shutil.copytree(text_packages["w4"].parent.parent / "llama", source)
    ran = edgekit(
        "convert", source, "-p", "w4", "--context", 128, *language.RANDOM, "--launches", 0, "-o", tmp_path, "--json"
    )
    assert ran.code == 0, ran.err + ran.out
    again, first = (
        json.loads((p / "manifest.json").read_text(encoding="utf-8"))["files"]
        for p in (tmp_path / "llama-cpu-w4", text_packages["w4"])
    )
    assert again == first


def test_a_template_that_renders_nothing_is_not_compared(edgekit: Edgekit, tmp_path: Path) -> None:
    """Nothing of nothing is no difference, and no agreement either."""
    folder = language.folder(tmp_path / "model")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('not today') }}", encoding="utf-8")
    ran = edgekit("convert", folder, "-p", "fp32", *language.RANDOM, "--launches", 0, "-o", tmp_path / "out", "--json")
    assert ran.code == 0, ran.err + ran.out
    made = ran.json["packages"][0]["receipt"]
    assert any(n.startswith("the chat template: transformers renders none") for n in made["not_checked"])
    assert {t["reason"] for t in made["trips"]} == {"misread"}
    assert not any(m["name"] == "chat template equal" for m in made["measurements"])
