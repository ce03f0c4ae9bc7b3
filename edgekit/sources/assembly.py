"""A transformers model put together from the tensors of a folder, some of its layers by our own: strictly,
and without the code that the library has for each kind of quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgekit.errors import SourceError
from edgekit.sources.files import json_of
from edgekit.sources.leftover import check_left

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

Tensors = dict[str, torch.Tensor]
Replace = Callable[[str, Any, Tensors], nn.Module | None]
Check = Callable[[Mapping[str, nn.Module], Iterable[str]], None]
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def assemble(folder: Path, config: PreTrainedConfig, replace: Replace, check: Check | None = None) -> PreTrainedModel:
    """The model in float32. `replace` takes a layer's tensors out of the rest and returns the layer that stands
    for it, or None to leave it float, with a `weight` among the tensors. Afterwards `check` receives the
    layers by name, and the names of tensors that no layer took. Raises SourceError when a tensor is missing."""
    from transformers import AutoModelForCausalLM

    settings = {k: v for k, v in config.to_dict().items() if k != "quantization_config"}
    plain = type(config).from_dict(settings)
    plain._attn_implementation = "eager"
    with torch.device("meta"):  # without memory: nothing random is ever there to be left in
        model = AutoModelForCausalLM.from_config(plain, dtype=torch.float32)
    tensors = dict(_tensors(folder))
    layers = {n: m for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Embedding))}
    for name, layer in layers.items():
        replacement = replace(name, layer, tensors)
        if replacement is not None:
            model.set_submodule(name, replacement)
    if check is not None:
        check(layers, tensors)
    model.to_empty(device="cpu")
    _restore(model, tensors, plain)
    return model


def take(tensors: Tensors, name: str) -> torch.Tensor:
    """Removes a tensor from the rest and returns it. Raises SourceError when it is missing."""
    tensor = tensors.pop(name, None)
    if tensor is None:
        raise SourceError(f"The checkpoint lacks {name}", "", "download or copy it again")
    return tensor


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    from safetensors import safe_open

    index, names = folder / "model.safetensors.index.json", ["model.safetensors"]
    if index.is_file():
        names = sorted(set(json_of(index)["weight_map"].values()))
    for file in names:
        with safe_open(str(folder / file), "pt") as archive:
            for name in archive.keys():  # noqa: SIM118 (not a dictionary)
                yield name, archive.get_tensor(name)


def _restore(model: PreTrainedModel, tensors: Tensors, config: PreTrainedConfig) -> None:
    """Gives every parameter its tensor. Buffers are computed again, since a model without memory has none."""
    fresh = type(model)._from_config(_small(config), dtype=torch.float32)
    for name, buffer in fresh.named_buffers():
        owner, _, own = name.rpartition(".")
        model.get_submodule(owner).register_buffer(own, buffer.clone(), persistent=False)
    parameters = {n for n, p in model.named_parameters() if p is not None}
    state = {n: t.float() for n, t in tensors.items() if n in parameters and t.dtype in _FLOATS}
    head = model.get_output_embeddings()
    tied = config.tie_word_embeddings and "lm_head.weight" not in state and isinstance(head, nn.Linear)
    missing = sorted(parameters - state.keys() - ({"lm_head.weight"} if tied else set()))
    for name in (n for n in missing if n in tensors):
        raise SourceError(
            f"{name} is no float, and nothing says what it stands for",
            f"it is {str(tensors[name].dtype).removeprefix('torch.')} of {tuple(tensors[name].shape)}, without scales",
            "download or copy the checkpoint again",
        )
    left = {n for n in tensors.keys() - parameters if not (n.endswith(".bias") and not tensors[n].any())}
    check_left(left, model, "The checkpoint")
    if missing or ("lm_head.weight" in parameters and "lm_head.weight" not in state and not tied):
        raise SourceError(
            f"The checkpoint lacks {missing[0] if missing else 'lm_head.weight'}", "", "download or copy it again"
        )
    try:
        model.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise SourceError(
            "The checkpoint's tensors do not fit its config.json",
            str(error).splitlines()[-1].strip()[:300],
            "check that config.json and the weights belong together",
        ) from error
    if tied:
        model.tie_weights()


def _small(config: PreTrainedConfig) -> PreTrainedConfig:
    """The same config with next to no weights: its buffers (rotary frequencies, which kinds of layers may
    have of their own) are those of the whole."""
    kinds = sorted(set(getattr(config, "layer_types", None) or ()))
    small = {
        "num_hidden_layers": max(len(kinds), 1),
        "vocab_size": 8,
        "intermediate_size": 8,
        "layer_types": kinds or None,
        "pad_token_id": None,
    }
    return type(config).from_dict({**config.to_dict(), **small})
