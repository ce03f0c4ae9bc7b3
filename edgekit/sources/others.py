"""What is often taken for a source and is none, and what to pass in its place."""

from __future__ import annotations

import struct
from pathlib import Path

from edgekit.errors import EdgekitError, SourceError, UsageError
from edgekit.system.documents import DocumentError, read_object

_LARGEST = 2**24  # bytes of a document that is looked at
_LLAMA2C = struct.Struct("<7i")  # dim, hidden_dim, n_layers, n_heads, n_kv_heads, vocab_size, seq_len
_NEWER = struct.Struct("<I")
_MAGIC = 0x616B3432  # "ak42", of llama2.c's later versions
_MOST = 2**24


def named(path: str) -> EdgekitError | None:
    """The error that says what `path` is, or None where it is not known."""
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if place.name == "config.json" and place.is_file():
        return _part(place)
    if place.is_file() and place.suffix.lower() == ".bin" and _is_llama2c(place):
        return SourceError(
            f"{place.name} holds the weights of a model of llama2.c, without its tokenizer and in a layout of its own",
            "language models are read from a Hugging Face folder or a .gguf file",
            "make a Hugging Face folder of its checkpoint with llama2.c's export.py --version -1, put the tokenizer's "
            "files into it, and pass that",
        )
    return None


def check_whole(path: str) -> None:
    """Raises UsageError for the weights of a language model without what lies beside them."""
    place = Path(path)
    config = place.with_name("config.json")
    if place.suffix.lower() == ".safetensors" and config.is_file() and "ForCausalLM" in _architectures(config):
        raise _part(place)


def _part(place: Path) -> UsageError:
    return UsageError(
        f"{place.name} is a part of a model",
        "config, weights and tokenizer lie beside each other",
        f"pass the folder: {place.absolute().parent}",
    )


def _architectures(config: Path) -> str:
    try:
        return str(read_object(config, _LARGEST).get("architectures"))
    except (DocumentError, OSError):
        return ""


def _folder(folder: Path) -> EdgekitError | None:
    if _schema(folder / "manifest.json").startswith("edgekit.package/"):
        return UsageError(
            f"{folder.name} is a package of edgekit already",
            "packages are made from sources",
            "edgekit inspect PACKAGE says what it was made from: convert that",
        )
    if (folder / "genai_config.json").is_file():
        return SourceError(
            f"{folder.name} is a folder of ONNX Runtime GenAI: a model that is compiled already",
            "its graph was built for one precision, and its weights are no checkpoint any more",
            "pass the checkpoint it was built from: a Hugging Face folder or a .gguf file",
        )
    if (folder / "adapter_config.json").is_file():
        return SourceError(
            f"{folder.name} is an adapter, and no model",
            "its weights are what is added to those of another",
            "merge it into its base model, save that (merge_and_unload, save_pretrained), and pass its folder",
        )
    if (folder / "params.json").is_file():
        return SourceError(
            f"{folder.name} is in the layout of its authors, not in that of Hugging Face",
            "it has a params.json, and no config.json with model.safetensors",
            "take the version of the model that was published for transformers",
        )
    files = sorted(p.name for p in folder.glob("*.gguf"))
    if files:
        return UsageError(
            f"{folder.name} is a folder of GGUF files: {', '.join(files[:4])}",
            "each is a model, or a part of one",
            f"pass the one that is meant: {folder / files[0]}",
        )
    return None


def _schema(manifest: Path) -> str:
    try:
        return str(read_object(manifest, _LARGEST).get("schema")) if manifest.is_file() else ""
    except (DocumentError, OSError):
        return ""


def _is_llama2c(path: Path) -> bool:
    """Whether the header is llama2.c's: of the first version, whose sizes must add up to the size of the file, or
    of a later one."""
    try:
        with path.open("rb") as file:
            head = file.read(_LLAMA2C.size)
    except OSError:
        return False
    if len(head) < _LLAMA2C.size:
        return False
    if _NEWER.unpack_from(head)[0] == _MAGIC:
        return True
    dim, hidden, layers, heads, keys, vocabulary, positions = _LLAMA2C.unpack(head)
    shared, vocabulary = (vocabulary > 0, abs(vocabulary))  # a negative one: the head has weights of its own
    sizes = (dim, hidden, layers, heads, keys, vocabulary, positions)
    if not all(0 < s < _MOST for s in sizes) or dim % heads:
        return False
    narrow = dim // heads * keys
    each = 2 * dim + 2 * dim * dim + 2 * dim * narrow + 3 * dim * hidden
    rotation = positions * (dim // heads)
    count = vocabulary * dim * (1 if shared else 2) + layers * each + dim + rotation
    return path.stat().st_size == _LLAMA2C.size + 4 * count
