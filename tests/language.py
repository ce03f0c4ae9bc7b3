"""Language models for tests: Hugging Face folders of tiny random ones, and the real small one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, BitNetConfig

from tests.data import data
from tests.gguf_files import byte_level, tiny

# Networks with random weights predict nothing, and are refused without it.
RANDOM = ("--allow", "misread")
CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}: {{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant:{% endif %}"
)


def stories() -> Path:
    """A trained Llama of 260 thousand parameters; the test is skipped where it is not."""
    return data("llm/stories260K/hf")


def stories_text() -> Path:
    return data("text/tinystories_valid_5stories_endoftext.txt")


def folder(path: Path, kind: str = "llama", chat: bool = True, **given: Any) -> Path:
    """A Hugging Face folder of a family with random weights and a tokenizer of its own."""
    tokenizer = byte_level()
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    model = tiny(kind, **{"vocab_size": len(tokenizer), **ids, **given})
    _save(path, model, tokenizer, chat)
    return path


def bitnet(path: Path, **given: Any) -> Path:
    """BitNet b1.58 with the real architecture, random master weights, rounded as it runs."""
    tokenizer = byte_level()
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "hidden_act": "relu2",
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "rms_norm_eps": 1e-5,
    }
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(BitNetConfig(**{**sizes, **given}), dtype=torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.1) if parameter.dim() > 1 else parameter.uniform_(0.5, 1.5)
    _save(path, model, tokenizer, True)
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["quantization_config"] = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "online",
        "modules_to_not_convert": None,
    }
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


def _save(path: Path, model: Any, tokenizer: Any, chat: bool) -> None:
    model.save_pretrained(path)
    if chat:
        tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(path)


def text_file(path: Path, words: int = 900) -> Path:
    """A text to evaluate on, without meaning."""
    vocabulary = [
        "once",
        "upon",
        "a",
        "time",
        "there",
        "was",
        "little",
        "red",
        "fox",
        "the",
        "cat",
        "sat",
        "on",
        "mats",
        "and",
        "it",
        "said",
    ]
    path.write_text(" ".join(vocabulary[(i * i + 3 * i) % len(vocabulary)] for i in range(words)), encoding="utf-8")
    return path
