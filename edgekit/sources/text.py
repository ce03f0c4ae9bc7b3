"""What the sources of language models share: from a config and a tokenizer to the spec."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError, UsageError
from edgekit.model import CheckpointModel, SourceInfo
from edgekit.sources import families
from edgekit.sources.base import SourceOptions
from edgekit.sources.files import json_of
from edgekit.sources.tokenizer import read_tokenizer, token_bytes
from edgekit.spec import Precision, Sampling, TextSpec
from edgekit.system.documents import JsonObject

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DEFAULT_CONTEXT = 2048
TOKENS = "tokens.bin"
_SMALL = 20_000_000  # parameters


def read_text_model(
    name: str,
    weights: Path,
    config: PreTrainedConfig,
    folder: Path,
    info: SourceInfo,
    options: SourceOptions,
    into: Path,
    native: Precision | None = None,
) -> CheckpointModel:
    """`folder` has config.json and the tokenizer; what a package needs of them goes to `into`.

    Raises SourceError for a model that is not converted or lacks a part, UsageError for a context it
    does not have.
    """
    families.check(config, name)
    tokenizer = read_tokenizer(folder)
    text = config.get_text_config()
    largest = max(tokenizer.get_vocab().values(), default=-1)
    if largest >= text.vocab_size:
        raise SourceError(
            f"The tokenizer of {name} does not belong to its weights",
            f"it has tokens up to {largest}, and the embedding has {text.vocab_size} rows",
            "copy the tokenizer of this very model into the folder",
        )
    into.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(into)
    for extra in [p for p in into.iterdir() if p.is_dir()]:  # templates besides the one that is used
        shutil.rmtree(extra)
    shutil.copyfile(folder / "config.json", into / "config.json")
    generation = json_of(folder / "generation_config.json")
    if generation:
        shutil.copyfile(folder / "generation_config.json", into / "generation_config.json")
    (into / TOKENS).write_bytes(token_bytes(tokenizer, text.vocab_size))
    spec = _spec(config, text, generation, tokenizer, options.context)
    return CheckpointModel(name, str(weights), into, spec, info, native)


def ready(network: PreTrainedModel) -> PreTrainedModel:
    """Sets the network to evaluate; a small one runs on a single thread, since synchronising a second one costs
    more than it gains."""
    import torch

    if sum(p.numel() for p in network.parameters()) < _SMALL:
        torch.set_num_threads(1)
    return network.eval().requires_grad_(False)


def _spec(
    config: PreTrainedConfig,
    text: PreTrainedConfig,
    generation: JsonObject,
    tokenizer: PreTrainedTokenizerBase,
    length: int | None,
) -> TextSpec:
    trained = int(getattr(text, "max_position_embeddings", 0) or DEFAULT_CONTEXT)
    if length is not None and length > trained:
        raise UsageError(
            f"--context {length} is longer than the model was trained for",
            f"it knows {trained} positions",
            f"use --context {trained} or less",
        )
    longest = _longest(text, trained)
    if length is not None and length > longest:
        raise UsageError(
            f"--context {length} is longer than edgekit keeps of this model",
            f"a text of more than {longest} positions is rotated in another way from its beginning",
            f"use --context {longest} or less",
        )
    context = length or min(longest, DEFAULT_CONTEXT)
    bos = tokenizer.bos_token_id
    encoded = tokenizer.backend_tokenizer.encode("a").ids
    stop = {
        *_ids(generation.get("eos_token_id")),
        *_ids(getattr(text, "eos_token_id", None)),
        *_ids(tokenizer.eos_token_id),
    }
    size = families.head_size(text)
    keys = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    kinds = getattr(text, "layer_types", None) or [""] * text.num_hidden_layers
    layers = sum(k != "conv" for k in kinds)  # a convolution keeps next to nothing
    return TextSpec(
        family=config.architectures[0],
        vocab_size=text.vocab_size,
        context_length=context,
        trained_context=trained,
        kv_cache_bytes=2 * 4 * layers * keys * size * context,
        stop=tuple(sorted(i for i in stop if 0 <= i < text.vocab_size)),
        bos=bos,
        add_bos=bos is not None and encoded[:1] == [bos],
        chat=bool(tokenizer.chat_template),
        sampling=_sampling(generation),
    )


def _longest(text: PreTrainedConfig, trained: int) -> int:
    """The number of positions up to which cached keys stay valid: LongRoPE changes its frequencies for a text
    longer than the original context."""
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") != "longrope":
        return trained
    first = rope.get("original_max_position_embeddings") or getattr(text, "original_max_position_embeddings", None)
    return min(trained, int(first or trained))


def _sampling(generation: JsonObject) -> Sampling:
    if not generation.get("do_sample"):
        return Sampling(repetition_penalty=float(generation.get("repetition_penalty") or 1.0))
    return Sampling(
        temperature=float(generation.get("temperature") or 1.0),
        top_k=int(generation.get("top_k") or 0),
        top_p=float(generation.get("top_p") or 1.0),
        min_p=float(generation.get("min_p") or 0.0),
        repetition_penalty=float(generation.get("repetition_penalty") or 1.0),
    )


def _ids(value: object) -> list[int]:
    return [int(v) for v in (value if isinstance(value, list) else [value]) if isinstance(v, int)]
