"""A transformers model with the weights of a GGUF file: each parameter from a tensor, or no model.

The model is made without memory first (torch's meta device), so that names and shapes are compared
before a weight is read. Nothing is ever left at a random value: a parameter without a tensor, and a
tensor without a parameter, are errors.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgekit.errors import SourceError
from edgekit.layers.packed import Packed, PackedLinear
from edgekit.sources.gguf_blocks import FLOATS, keeps, packed, values
from edgekit.sources.gguf_config import Family, read_config, read_family
from edgekit.sources.gguf_header import Array, GgufFile, Tensor
from edgekit.sources.gguf_rope import FACTORS
from edgekit.sources.text import ready
from edgekit.spec import Precision

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel
    from transformers.modeling_gguf_pytorch_utils import TensorProcessor

_EMBEDDING = "token_embd.weight"
_GATHERED = ("Q4_0", "Q8_0")  # tables the builder can leave quantised
_PRECISIONS = {
    "Q4_0": Precision.W4,
    "Q4_1": Precision.W4,
    "Q8_0": Precision.W8,
    "TQ1_0": Precision.TERNARY,
    "TQ2_0": Precision.TERNARY,
}


@dataclass
class Plan:
    """`network` has no weights yet. `names`: of each tensor's parameter. `exact`: tensors whose
    integers are kept. `unused`: keys of the metadata that had no part in the config."""

    network: PreTrainedModel
    family: Family
    names: dict[str, str]
    exact: tuple[str, ...]
    unused: list[str]

    def native(self, file: GgufFile) -> Precision | None:
        """What the layers are quantised to already, where that is what most of their weights keep."""
        sizes: Counter[str] = Counter()
        for name in self.names:
            tensor = file.tensors[name]
            if len(tensor.shape) == 2 and name != _EMBEDDING:
                sizes[tensor.kind if name in self.exact else ""] += tensor.elements
        return _PRECISIONS.get(sizes.most_common(1)[0][0])

    def notes(self, file: GgufFile) -> tuple[str, ...]:
        """What happened to the weights, for a receipt."""
        lines = []
        if self.exact:
            kinds = Counter(file.tensors[n].kind for n in self.exact)
            lines.append(
                f"{_counted(len(self.exact), 'layer')} with the file's own integers: "
                + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            )
        others = Counter(
            t.kind for n, t in file.tensors.items() if n in self.names and n not in self.exact and t.kind not in FLOATS
        )
        if others:
            listed = ", ".join(f"{count} {kind}" for kind, count in sorted(others.items()))
            lines.append(f"{_counted(others.total(), 'tensor')} dequantised: {listed}")
        if self.unused:
            listed = ", ".join(repr(k[:60]) for k in sorted(self.unused)[:8])
            lines.append(f"metadata without a part in the model: {listed}")
        return tuple(lines)


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def plan(file: GgufFile) -> Plan:
    """Raises SourceError when the tensors are not those of the model that the metadata describe."""
    from transformers import AutoModelForCausalLM

    family = read_family(file)
    config, unused = read_config(file)
    try:
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    except Exception as error:  # the library raises whatever does not fit
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceError(
            f"The metadata of {file.name} describe no {family.kind} model",
            lines[0][:300],
            "take the file from where the model was published",
        ) from error
    names = _names(file, network, config)
    _compare(file, network, names, config.tie_word_embeddings)
    return Plan(network.eval(), family, names, _exact(file, network, names), unused)


def build(file: GgufFile, dtype: str) -> PreTrainedModel:
    """The model on its evaluation path, in float32 or, with "auto", in the floats of the file."""
    layout = plan(file)
    network, config = layout.network, layout.network.config
    kind = _float_of(file) if dtype == "auto" else getattr(torch, dtype)
    processor = _processor(layout.family, config)
    for name, parameter in layout.names.items():
        tensor = file.tensors[name]
        if name in layout.exact and name != _EMBEDDING:
            matrix = packed(tensor, _order(processor, tensor))
            _replace(network, parameter.removesuffix(".weight"), matrix)
            continue
        weight = processor.process(weights=values(tensor), name=name).weights
        _fill(network, parameter, torch.from_numpy(np.ascontiguousarray(weight)).to(kind))
    if config.tie_word_embeddings:
        network.tie_weights()
    _fill_buffers(network, file)
    if _EMBEDDING in layout.exact:
        table = packed(file.tensors[_EMBEDDING])
        network.get_input_embeddings().packed = table
        if config.tie_word_embeddings:
            network.set_output_embeddings(PackedLinear(table))
    network.config.dtype = kind
    return ready(network)


def _names(file: GgufFile, network: PreTrainedModel, config: PreTrainedConfig) -> dict[str, str]:
    """Tensor → parameter, by llama.cpp's own table. A tied head has no tensor."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    architecture = file.metadata["general.architecture"]
    number = next(k for k, v in MODEL_ARCH_NAMES.items() if v == architecture)
    table = get_tensor_name_map(number, config.num_hidden_layers)
    names = {}
    for parameter, _ in network.named_parameters():
        stem, _, suffix = parameter.rpartition(".")
        module = table.get_name(stem)
        if module is not None:
            names[f"{module}.{suffix}"] = parameter
    return {n: p for n, p in names.items() if n in file.tensors}


def _compare(file: GgufFile, network: PreTrainedModel, names: dict[str, str], tied: bool) -> None:
    parameters = dict(network.named_parameters())
    tied_names = set(network.get_expanded_tied_weights_keys(all_submodels=True)) if tied else set()
    missing = [p for p in parameters if p not in names.values() and p not in tied_names]
    if missing:
        raise SourceError(
            f"{file.name} is not complete: {len(missing)} of {len(parameters)} weights are missing",
            f"the first is {missing[0]}",
            "download or copy it again",
        )
    extra = [n for n in file.tensors if n not in names and n not in FACTORS]
    if extra:
        raise SourceError(
            f"{file.name} holds more than a {network.config.architectures[0]}",
            f"{len(extra)} tensors have no place in it, the first is {extra[0][:80]!r}",
            "convert the folder the model was published in on Hugging Face instead",
        )
    for name, parameter in names.items():
        expected, actual = tuple(parameters[parameter].shape), file.tensors[name].shape
        if expected != actual:
            raise SourceError(
                f"{file.name} is damaged, or its metadata are of another model",
                f"{name} is {actual} and {parameter} would be {expected}",
                "download or copy it again",
            )


def _exact(file: GgufFile, network: PreTrainedModel, names: dict[str, str]) -> tuple[str, ...]:
    """The tensors of linear layers and of the embedding whose integers are kept."""
    exact = []
    for name, parameter in names.items():
        tensor = file.tensors[name]
        if name == _EMBEDDING:
            keep = tensor.kind in _GATHERED
        else:
            module = network.get_submodule(parameter.rpartition(".")[0])
            keep = parameter.endswith(".weight") and type(module) is nn.Linear and keeps(tensor)
        if keep:
            exact.append(name)
    return tuple(exact)


def _processor(family: Family, config: PreTrainedConfig) -> TensorProcessor:
    """The transformers class that reverses what llama.cpp's converter did to the tensors of a family."""
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    return TENSOR_PROCESSORS.get(family.like, TensorProcessor)(config=config.to_dict())


def _order(processor: TensorProcessor, tensor: Tensor) -> Array:
    """The rows of a tensor in the order transformers has them."""
    return processor.process(weights=np.arange(tensor.shape[0]), name=tensor.name).weights


def _fill(network: PreTrainedModel, name: str, value: torch.Tensor) -> None:
    stem, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(stem), leaf, nn.Parameter(value, requires_grad=False))


def _replace(network: PreTrainedModel, name: str, weight: Packed) -> None:
    stem, _, leaf = name.rpartition(".")
    bias = getattr(network.get_submodule(name), "bias", None)
    setattr(network.get_submodule(stem), leaf, PackedLinear(weight, bias))


def _fill_buffers(network: PreTrainedModel, file: GgufFile) -> None:
    """Computes the buffers of a model (the frequencies of positions), which have no memory yet.

    `initialize_weights` is how transformers does it; parameters are marked as not to be touched.
    """
    for parameter in network.parameters():
        parameter._is_hf_initialized = True
    for name, buffer in list(network.named_buffers()):
        if buffer.is_meta:
            stem, _, leaf = name.rpartition(".")
            network.get_submodule(stem)._buffers[leaf] = torch.full_like(buffer, torch.nan, device="cpu")
    network.initialize_weights()
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if tensor.is_meta or bool(tensor.isnan().any()):
            raise SourceError(
                f"{name} of {file.name} has no value",
                "this version of transformers did not set it",
                "install a version of transformers that edgekit was tested with",
            )


def _float_of(file: GgufFile) -> torch.dtype:
    """The type that all matrices are stored in, or float32 where they differ."""
    kinds = {FLOATS.get(t.kind, torch.float32) for t in file.tensors.values() if len(t.shape) > 1}
    return kinds.pop() if len(kinds) == 1 else torch.float32
