"""Text and token ids on the device: ONNX Runtime GenAI's tokenizer, or the reference one where a
conversion found that the former gives other ids."""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekit.errors import IntegrityError, MissingError, UsageError, guard
from edgekit.runtime.engines.libraries import onnxruntime_genai
from edgekit.runtime.engines.template import Template
from edgekit.runtime.native import output_to
from edgekit.runtime.text.tokens import checked_text
from edgekit.spec import TextSpec
from edgekit.system.distribution import install
from edgekit.system.documents import read_bytes, read_object, read_utf8

UPGRADE = install("genai", upgrade=True)
_LARGEST = 2**28  # bytes of a tokenizer's file
_DIGITS = 7  # of a token's id: no vocabulary has ten million
_FAR = re.compile(rb'(?<!\\)":\s*\d{%d}' % (_DIGITS + 1))
_FILES = (
    "genai_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)


class GenaiTokenizer:
    """onnxruntime-genai's own: it needs nothing more, and its other languages have it as well."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._og = folder, onnxruntime_genai()
        # The library reads a chat template as it opens a tokenizer, and a stranger's may take for ever.
        with _opened(folder, "tokenizer"), tempfile.TemporaryDirectory(prefix="edgekit-") as bare:
            copy_tokenizer(folder, Path(bare))
            self._tokenizer = self._og.Tokenizer(bare)
        self._special: dict[str, int] | None = None
        self._template: Template | None = None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, special tokens in it as such, and without a beginning token."""
        with _reading(text):
            return [int(i) for i in self._tokenizer.encode(text)] if text else []

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are nothing but characters."""
        if not any(mark in text for mark in self.special_tokens()):
            return self.encode(text)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            copy_tokenizer(self._folder, Path(folder), special=False)
            with _reading(text):
                ids = [int(i) for i in self._og.Tokenizer(folder).encode(text)]
        if set(ids) & set(self.special_tokens().values()):
            raise UsageError(
                "This text holds a special token that the tokenizer cannot take as plain characters",
                "",
                "remove it, or allow special tokens if you trust the text",
            )
        return ids

    def special_tokens(self) -> dict[str, int]:
        """The texts that stand for special tokens."""
        if self._special is None:
            with _opened(self._folder, "tokenizer"):
                added = read_object(self._folder / "tokenizer.json").get("added_tokens") or []
                self._special = {t["content"]: int(t["id"]) for t in added if t.get("special") and t["content"]}
        return self._special

    def render(self, messages: Sequence[dict[str, str]], answering: bool = True) -> str:
        """The prompt that the model's chat template makes. Raises UsageError when it refuses, or takes more
        time or memory than a template may."""
        for message in messages:
            for part in message.values():
                checked_text(part, "A message")
        if self._template is None:
            with _opened(self._folder, "chat template"):
                self._template = Template(self._folder)
        return self._template.render(messages, answering)

    def close(self) -> None:
        if self._template is not None:
            self._template.close()
            self._template = None


class ReferenceTokenizer(GenaiTokenizer):
    """Hugging Face's `tokenizers`, which the model was trained with; templates are GenAI's still."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingError(
                "This package's text needs the tokenizers library, which is not installed",
                "the engine's own tokenizer gives other ids for this model",
                UPGRADE,
            ) from error
        with _opened(folder, "tokenizer"):
            definition = read_utf8(folder / "tokenizer.json", _LARGEST)
            self._reference = Tokenizer.from_str(definition)
            self._reference.no_truncation()  # a text is read whole, whatever the file says of batches
            self._reference.no_padding()

    def encode(self, text: str) -> list[int]:
        return self._encode(text, plain=False)

    def encode_plain(self, text: str) -> list[int]:
        return self._encode(text, plain=True)

    def _encode(self, text: str, plain: bool) -> list[int]:
        with _reading(text):
            self._reference.encode_special_tokens = plain
            return list(self._reference.encode(text, add_special_tokens=False).ids)


def open_tokenizer(folder: Path, spec: TextSpec) -> GenaiTokenizer:
    return (ReferenceTokenizer if spec.tokenizer == "tokenizers" else GenaiTokenizer)(folder)


@contextlib.contextmanager
def _reading(text: str) -> Iterator[None]:
    """What a tokenizer's library raises on a text that is one."""
    checked_text(text, "The text")
    wrong = guard(IntegrityError, "The tokenizer of this package fails on a text", "convert again")
    with wrong, output_to(streams=(2,)):  # one of them is in Rust, and prints where it panicked
        yield


@contextlib.contextmanager
def _opened(folder: Path, part: str) -> Iterator[None]:
    """What a library says of a package's file that it cannot read."""
    with guard(IntegrityError, f"The {part} of {folder.name} cannot be opened", "convert again"):
        yield


def copy_tokenizer(source: Path, into: Path, special: bool = True) -> None:
    """The tokenizer's files without a chat template; `special`: with the texts of special tokens."""
    for name in _FILES:
        if (source / name).exists():
            content = read_bytes(source / name, _LARGEST)
            if name != "genai_config.json" and _FAR.search(content):
                raise IntegrityError(
                    f"{name} of {source.name} has an id of more than {_DIGITS} digits",
                    "the engine would take memory for all below it",
                    "convert again",
                )
            (into / name).write_bytes(content)
    settings = read_object(source / "tokenizer_config.json") if (source / "tokenizer_config.json").exists() else {}
    settings.pop("chat_template", None)
    (into / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    if not special:
        definition = read_object(source / "tokenizer.json")
        definition["added_tokens"] = [t for t in definition.get("added_tokens") or [] if not t.get("special")]
        (into / "tokenizer.json").write_text(json.dumps(definition), encoding="utf-8")
