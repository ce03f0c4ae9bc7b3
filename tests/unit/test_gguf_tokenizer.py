"""Tokenizers of GGUF files: the same tokens for the same text as the tokenizer they were written from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import AutoTokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from edgekit.errors import SourceError
from tests.gguf_files import TEXTS, byte_level, read, sentencepiece, tiny, write


@pytest.mark.parametrize("pre", ["gpt-2", "smollm", "qwen2", "llama-bpe", "tekken"])
def test_text_is_split_as_the_file_says(pre: str, tmp_path: Path) -> None:
    gpt2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    pattern = Regex(GGUF_PRE_TOKENIZER_SPLITS.get(pre, gpt2))
    splits = [pre_tokenizers.Digits(individual_digits=True)] if pre == "smollm" else []
    tokenizer = byte_level([*splits, pre_tokenizers.Split(pattern, "isolated")])
    model = read(write(tmp_path / "t.gguf", tiny("llama"), tokenizer, pre=pre))
    again = AutoTokenizer.from_pretrained(model.folder)
    texts = [*TEXTS, "<｜User｜>hi <think>1234567</think>", "<|endoftext|>"]
    ids = [tokenizer(t).input_ids for t in texts]
    assert [again(t).input_ids for t in texts] == ids
    assert [again.decode(i) for i in ids] == [tokenizer.decode(i) for i in ids]
    assert again.get_vocab() == tokenizer.get_vocab()


def test_a_tokenizer_that_transformers_would_read_as_another_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.gguf", tiny("qwen2"), byte_level(), pre="smollm")
    with pytest.raises(SourceError, match="not that of its architecture"):
        read(path)


def test_special_tokens_template_and_sampling(tmp_path: Path) -> None:
    tokenizer = byte_level()
    changed = {
        "tokenizer.ggml.add_bos_token": True,
        "general.sampling.temp": 0.5,
        "general.sampling.top_k": 20,
        "tokenizer.ggml.eot_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
    }
    model = read(write(tmp_path / "t.gguf", tiny("qwen3"), tokenizer, changed=changed))
    again = AutoTokenizer.from_pretrained(model.folder)
    assert again.chat_template == tokenizer.chat_template and model.spec.chat
    assert again("hi").input_ids[0] == tokenizer.bos_token_id and model.spec.add_bos
    assert model.spec.stop == (0, 2, 3)  # <|endoftext|> by its name, eos and eot by their ids
    assert (again.pad_token_id, again.bos_token_id, again.eos_token_id) == (0, 1, 2)
    assert (model.spec.sampling.temperature, model.spec.sampling.top_k) == (0.5, 20)
    config = json.loads((model.folder / "config.json").read_text(encoding="utf-8"))
    assert (config["architectures"], config["eos_token_id"]) == (["Qwen3ForCausalLM"], 2)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"tokenizer.ggml.model": "rwkv"}, "'rwkv'"),
        ({"tokenizer.ggml.pre": "no-such-way"}, "splits text in a way"),
        ({"tokenizer.ggml.merges": ["a zzzz"]}, "is not of its tokens"),
        ({"tokenizer.ggml.token_type": [1, 1]}, "another number of token types"),
        ({"tokenizer.ggml.eos_token_id": 4000}, "its eos token is 4000"),
        ({"tokenizer.ggml.tokens": None}, "has no tokenizer"),
    ],
)
def test_a_tokenizer_that_is_not_understood_is_refused(changed: dict[str, object], why: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        read(write(tmp_path / "t.gguf", tiny("qwen3"), byte_level(), changed=changed))
    assert why in str(caught.value)


def test_spaces_before_text_are_as_the_file_says(tmp_path: Path) -> None:
    changed = {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False}
    model = read(write(tmp_path / "t.gguf", tiny("llama"), sentencepiece(), changed=changed))
    again = AutoTokenizer.from_pretrained(model.folder)
    plain = sentencepiece()
    plain.backend_tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    assert [again(t).input_ids for t in TEXTS] == [plain(t, add_special_tokens=False).input_ids for t in TEXTS]
    assert not model.spec.add_bos
