"""GGUF files for tests, written from transformers models as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quants
from gguf.constants import GGML_QUANT_SIZES
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from edgekit.layers.ternary import ternarised
from edgekit.model import CheckpointModel
from edgekit.sources.base import SourceOptions
from edgekit.sources.gguf import GgufSource

NAMES = {"gemma3_text": "gemma3"}  # of architectures, where transformers has another
_OLDER = {"attn_sub_norm": "inner_attn_ln", "ffn_sub_norm": "ffn_layernorm"}  # of BitNet, in llama.cpp's table
WORDS = ["once upon a time there was a little red fox", "the cat sat on 1234 mats!", "Grüße, 你好 \N{FOX FACE}\n\n"]
TEXTS = [
    "Once upon a time",
    " two  spaces   and a tab\t",
    "line\nbreaks\r\n\n\nend ",
    "caf\u00e9 Grüße 你好 \N{FOX FACE}\N{SNOWMAN}",
    "numbers 1234567 and I'll don't",
    "",
    " ",
    "<s>special</s> text",
    "<|im_start|>user\nhi<|im_end|>\n",
    "\u2581 x",
]

QWEN2 = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS["qwen2"]), "isolated")


def read(path: Path) -> CheckpointModel:
    return GgufSource().read(str(path), SourceOptions(), path.parent / f"{path.stem}-files")


def network(path: Path) -> tuple[CheckpointModel, Any]:
    model = read(path)
    return model, GgufSource().network(model, "float32")


def tiny(kind: str, **given: Any) -> Any:
    """A model of a family with random weights, in evaluation mode."""
    from transformers import AutoConfig

    sizes = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 256,
        "vocab_size": 320,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": None,
    }
    torch.manual_seed(7)
    config = AutoConfig.for_model(kind, **{**sizes, **given})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # norms and biases are all alike at first
            parameter.normal_(1.0 if "norm" in name and "gemma" not in kind else 0.0, 0.1)
    return model


def sentencepiece(gemma: bool = False) -> PreTrainedTokenizerFast:
    """A small BPE with byte fallback, in the form of Llama 2's tokenizer.json, or of Gemma's."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256))]
    backend = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    replace = normalizers.Replace(" ", "\u2581")
    backend.normalizer = replace if gemma else normalizers.Sequence([normalizers.Prepend("\u2581"), replace])
    backend.train_from_iterator(
        WORDS * 4, trainers.BpeTrainer(vocab_size=310, special_tokens=special, show_progress=False)
    )
    definition = json.loads(backend.to_str())
    definition["added_tokens"] = [t for t in definition["added_tokens"] if t["id"] < 3]
    backend = Tokenizer.from_str(json.dumps(definition))
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(steps if gemma else [*steps, decoders.Strip(" ", 1, 0)])
    return _finished(backend, "<s>", "</s>", unk_token="<unk>")


def byte_level(splits: Any = (QWEN2,)) -> PreTrainedTokenizerFast:
    """A small byte-level BPE with special and user-defined tokens; without `splits` it is as Qwen2's."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<｜User｜>"]
    backend = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.pre_tokenizer = pre_tokenizers.Sequence([*splits, plain])
    backend.normalizer = normalizers.NFC() if splits == (QWEN2,) else None
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        WORDS * 4,
        trainers.BpeTrainer(vocab_size=310, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    backend.add_tokens(["<think>"])
    return _finished(backend, "<|im_start|>", "<|im_end|>", add=False)


def _finished(backend: Any, bos: str, eos: str, add: bool = True, **named: str) -> PreTrainedTokenizerFast:
    from tokenizers.processors import TemplateProcessing

    if add:
        pair = f"{bos} $A {bos} $B"
        backend.post_processor = TemplateProcessing(
            single=f"{bos} $A", pair=pair, special_tokens=[(bos, backend.token_to_id(bos))]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, **named)
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    return tokenizer


def write(
    path: Path,
    model: Any,
    tokenizer: Any,
    kind: str = "F32",
    changed: dict[str, Any] | None = None,
    leave_out: tuple[str, ...] = (),
    extra: dict[str, np.ndarray[Any, Any]] | None = None,
    kinds: dict[str, str] | None = None,
    pre: str = "qwen2",
) -> Path:
    """kind: of matrices whose rows are whole blocks, the rest stays F32; `kinds`: of single tensors.
    changed: metadata to set, or to leave out where None. leave_out, extra: tensors."""
    config = model.config
    writer = GGUFWriter(path, NAMES.get(config.model_type, config.model_type))
    metadata = {**_metadata(config), **tokenizer_metadata(tokenizer, pre), **(changed or {})}
    for key, value in metadata.items():
        _add(writer, key, value)
    kept = ((n, t) for n, t in _tensors(model) if n not in leave_out and n not in (extra or {}))
    for name, array in chain(kept, (extra or {}).items()):
        asked = (kinds or {}).get(name) or (kind if array.ndim == 2 else "F32")
        number = GGMLQuantizationType[asked]
        if array.shape[-1] % GGML_QUANT_SIZES[number][0]:
            number = GGMLQuantizationType.F32
        writer.add_tensor(name, blocks(array, number), raw_dtype=number)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def blocks(array: np.ndarray[Any, Any], number: GGMLQuantizationType) -> np.ndarray[Any, Any]:
    """Quantised by the gguf package, or random valid blocks where it cannot (K-quants)."""
    try:
        return quants.quantize(np.ascontiguousarray(array, np.float32), number)
    except NotImplementedError:
        block, size = GGML_QUANT_SIZES[number]
        random = np.random.default_rng(len(array)).integers(0, 256, (array.size // block, size), np.uint8)
        at = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,)}
        for start in at[number.name]:
            random[:, start : start + 2] = np.frombuffer(np.float16(0.002).tobytes(), np.uint8)
        return random.reshape(len(array), -1)


def hf_tensors(model: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Float32, with llama.cpp's names and its changes of order and of norms."""
    return dict(_tensors(model))


def _tensors(model: Any) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """One at a time: a large model need not be held twice."""
    config, kind = model.config, model.config.model_type
    architecture = NAMES.get(kind, kind)
    number = next(k for k, v in MODEL_ARCH_NAMES.items() if v == architecture)
    table = get_tensor_name_map(number, config.num_hidden_layers)
    for name, parameter in model.named_parameters():
        array = parameter.detach().float().numpy()
        if kind in ("llama", "smollm3", "granite") and ".q_proj." in name:
            array = _permuted(array, config.num_attention_heads)
        if kind in ("llama", "smollm3", "granite") and ".k_proj." in name:
            array = _permuted(array, config.num_key_value_heads)
        if kind.startswith("gemma") and "norm" in name:
            array = array + np.float32(1)
        if kind == "bitnet" and "_proj." in name:
            ternary, scale = ternarised(parameter.detach())
            array = ternary.float().numpy() * np.float32(scale)
        stem, _, suffix = name.rpartition(".")
        for theirs, ours in _OLDER.items():
            stem = stem.replace(theirs, ours)
        yield f"{table.get_name(stem)}.{suffix}", array


def _permuted(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """`permute` of convert_hf_to_gguf.py: halves of a head become neighbours."""
    return array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def _metadata(config: Any) -> dict[str, Any]:
    kind = config.model_type
    prefix = NAMES.get(kind, kind)
    rope = config.rope_parameters
    rope = rope.get("full_attention", rope)
    found = {
        "general.name": f"tiny {kind}",
        "general.license": "mit",
        f"{prefix}.block_count": config.num_hidden_layers,
        f"{prefix}.context_length": config.max_position_embeddings,
        f"{prefix}.embedding_length": config.hidden_size,
        f"{prefix}.feed_forward_length": config.intermediate_size,
        f"{prefix}.attention.head_count": config.num_attention_heads,
        f"{prefix}.attention.head_count_kv": config.num_key_value_heads,
        f"{prefix}.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        f"{prefix}.attention.key_length": getattr(config, "head_dim", None),
        f"{prefix}.attention.value_length": getattr(config, "head_dim", None),
        f"{prefix}.rope.freq_base": float(rope["rope_theta"]),
    }
    if kind.startswith(("gemma2", "gemma3", "phi3")) and config.sliding_window:
        found[f"{prefix}.attention.sliding_window"] = config.sliding_window
    if kind == "gemma2":
        found[f"{prefix}.attn_logit_softcapping"] = config.attn_logit_softcapping
        found[f"{prefix}.final_logit_softcapping"] = config.final_logit_softcapping
    if kind == "granite":
        found |= {
            "granite.attention.scale": config.attention_multiplier,
            "granite.logit_scale": config.logits_scaling,
            "granite.embedding_scale": config.embedding_multiplier,
            "granite.residual_scale": config.residual_multiplier,
        }
    return found


def tokenizer_metadata(tokenizer: Any, pre: str) -> dict[str, Any]:
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=lambda t: vocabulary[t])
    added = {t["id"]: 3 if t["special"] else 4 for t in definition["added_tokens"]}
    types = [added.get(i, 6 if t.startswith("<0x") else 1) for i, t in enumerate(tokens)]
    merges = [m if isinstance(m, list) else m.split(" ") for m in definition["model"]["merges"]]
    found = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": types,
        "tokenizer.ggml.bos_token_id": tokenizer.bos_token_id,
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.chat_template": tokenizer.chat_template,
    }
    starts = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    found["tokenizer.ggml.add_bos_token"] = starts
    if definition["model"]["byte_fallback"]:
        rank = {a + b: -float(i) for i, (a, b) in reversed(list(enumerate(merges)))}
        scores = [rank.get(t, -1e6 if types[i] == 1 else 0.0) for i, t in enumerate(tokens)]
        prefix = "Prepend" in json.dumps(definition["normalizer"])
        return {
            **found,
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.scores": scores,
            "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.add_space_prefix": prefix,
        }
    joined = [" ".join(m) for m in merges]
    return {**found, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.merges": joined}


def _add(writer: GGUFWriter, key: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)
