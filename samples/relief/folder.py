"""Writes and reads the model as a Hugging Face folder, in the layout of microsoft/bitnet-b1.58-2B-4T.

There a linear layer is a uint8 `weight` with a quarter of the rows, and a `weight_scale`: byte (i, j)
holds the rows i, i + n, i + 2n, i + 3n of column j, n being the number of rows stored, the first in the
lowest two bits, each as 0, 1 or 2 for -1, 0, 1. transformers multiplies by the scale after the product.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from network import BitLinear, Network, Shape, ternary
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from vocabulary import BOS, CHAT, EOS, SPECIALS


def pack(levels: Tensor) -> Tensor:
    parts = (levels + 1).to(torch.uint8).chunk(4)
    return parts[0] | parts[1] << 2 | parts[2] << 4 | parts[3] << 6


def unpack(packed: Tensor) -> Tensor:
    return torch.cat([packed >> shift & 3 for shift in (0, 2, 4, 6)]).float() - 1


def save(network: Network, tokenizer: Tokenizer, folder: Path, packed: bool = True) -> None:
    """With `packed` False the master weights, which transformers rounds whenever it uses them."""
    tensors: dict[str, Tensor] = {}
    linears = {f"{n}.weight" for n, m in network.named_modules() if isinstance(m, BitLinear)}
    for name, tensor in network.state_dict().items():
        tensor, name = tensor.detach().float(), f"model.{name}"
        if packed and name.removeprefix("model.") in linears:
            levels, scale = ternary(tensor)
            tensors[name] = pack(levels)
            tensors[f"{name}_scale"] = scale.reshape(1).bfloat16()
        else:
            tensors[name] = tensor.bfloat16()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    ids = {"bos_token_id": BOS, "eos_token_id": EOS}
    quantization = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "offline" if packed else "online",
    }
    write(
        folder / "config.json",
        {**network.shape.config(), **ids, "torch_dtype": "bfloat16", "quantization_config": quantization},
    )
    write(folder / "generation_config.json", {**ids, "do_sample": False, "max_new_tokens": 64})
    write(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": SPECIALS[BOS],
            "eos_token": SPECIALS[EOS],
            "clean_up_tokenization_spaces": False,
            "model_max_length": network.shape.max_position_embeddings,
            "chat_template": CHAT,
        },
    )
    tokenizer.save(str(folder / "tokenizer.json"))


def restore(folder: Path) -> tuple[Network, Tokenizer]:
    """The network exactly as it was stored: with the levels and scales of the packed weights."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    network = Network(Shape(**{name: config[name] for name in Shape.__dataclass_fields__}))
    tensors = load_file(folder / "model.safetensors")
    state: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.dtype == torch.uint8:
            tensor = unpack(tensor) * tensors[f"{name}_scale"].float()
        if not name.endswith("_scale"):
            state[name.removeprefix("model.")] = tensor.float()
    network.load_state_dict(state)
    for module in network.modules():
        if isinstance(module, BitLinear):
            module.fixed = config["quantization_config"]["quantization_mode"] == "offline"
    return network.eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))


def write(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
