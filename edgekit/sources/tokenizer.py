"""A tokenizer as a package needs it: the files ONNX Runtime GenAI reads, and the bytes of each token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import SourceError, guard
from edgekit.runtime.text.tokens import write_tokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The transformers tokenizer in a folder. Raises SourceError when there is none it can read."""
    from transformers import AutoTokenizer

    known = ("tokenizer.json", "tokenizer.model", "vocab.json")
    if not any((folder / n).exists() for n in known):
        raise SourceError(
            f"{folder.name} has no tokenizer",
            f"it holds none of {', '.join(known)}",
            "copy tokenizer.json and tokenizer_config.json of the model into it",
        )
    with guard(SourceError, f"The tokenizer of {folder.name} cannot be read", "download or copy it again"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if not getattr(tokenizer, "is_fast", False):
        raise SourceError(
            f"The tokenizer of {folder.name} is not of a kind edgekit can package",
            f"{type(tokenizer).__name__} has no tokenizer.json form",
        )
    return tokenizer


def token_bytes(tokenizer: PreTrainedTokenizerBase, count: int) -> bytes:
    """The content of `tokens.bin` for `count` tokens. Raises SourceError for an unknown decoder."""
    definition = json.loads(tokenizer.backend_tokenizer.to_str())
    added = {t["id"]: t for t in definition.get("added_tokens", [])}
    vocabulary = {i: t for t, i in tokenizer.get_vocab().items()}
    kinds = _kinds(definition.get("decoder"))
    if "ByteLevel" in kinds:
        table = _byte_characters()

        def plain(token: str) -> bytes:
            if all(c in table for c in token):
                return bytes(table[c] for c in token)
            return token.encode()
    elif kinds & {"Metaspace", "ByteFallback", "Replace"}:
        plain = _sentencepiece
    else:
        raise SourceError(
            "The tokenizer turns tokens into text in a way edgekit does not know",
            f"its decoder is {', '.join(sorted(kinds)) or 'missing'}",
            "edgekit knows byte-level BPE and SentencePiece",
        )
    tokens = []
    for i in range(count):
        text = vocabulary.get(i, "")
        tokens.append(text.encode() if i in added else plain(text))
    special = {i for i, t in added.items() if t["special"] and i < count}
    return write_tokens(tokens, special)


def _kinds(decoder: object) -> set[str]:
    if not isinstance(decoder, dict):
        return set()
    kinds = {str(decoder.get("type"))}
    for inner in decoder.get("decoders", ()):
        kinds |= _kinds(inner)
    return kinds


def _sentencepiece(token: str) -> bytes:
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        try:
            return bytes([int(token[3:5], 16)])
        except ValueError:
            pass
    return token.replace("\u2581", " ").encode()


def _byte_characters() -> dict[str, int]:
    """The printable characters that stand for bytes in byte-level BPE (GPT-2's encoder.py)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(b): b for b in printable}
    for shift, byte in enumerate(b for b in range(256) if b not in printable):
        table[chr(256 + shift)] = byte
    return table
