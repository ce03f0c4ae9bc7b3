"""Text and token ids on the device: ONNX Runtime GenAI's tokenizer, or the reference one where a
conversion found that the former gives other ids."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import IntegrityError, MissingError, UsageError
from edgekit.spec import TextSpec


class GenaiTokenizer:
    """onnxruntime-genai's own: it needs nothing more, and its other languages have it as well."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._og = folder, library()
        try:
            self._tokenizer = self._og.Tokenizer(str(folder))
        except Exception as error:  # the library raises RuntimeError for everything
            raise IntegrityError(
                f"ONNX Runtime GenAI {self._og.__version__} cannot open this package's tokenizer",
                str(error).splitlines()[0][:300], "convert again",
            ) from error  # fmt: skip
        self._special: dict[str, int] | None = None

    def encode(self, text: str) -> list[int]:
        """The ids of a text, special tokens in it as such, and without a beginning token."""
        return [int(i) for i in self._tokenizer.encode(text)] if text else []

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are nothing but characters."""
        if not any(mark in text for mark in self.special_tokens()):
            return self.encode(text)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            _without_special_tokens(self._folder, Path(folder))
            ids = [int(i) for i in self._og.Tokenizer(folder).encode(text)]
        if set(ids) & set(self.special_tokens().values()):
            raise UsageError(
                "This text holds a special token that the tokenizer cannot take as plain characters", "",
                "remove it, or allow special tokens if you trust the text",
            )  # fmt: skip
        return ids

    def special_tokens(self) -> dict[str, int]:
        """The texts that stand for special tokens."""
        if self._special is None:
            definition = json.loads((self._folder / "tokenizer.json").read_text())
            added = definition.get("added_tokens") or []
            self._special = {
                t["content"]: int(t["id"]) for t in added if t.get("special") and t["content"]
            }
        return self._special

    def render(self, messages: Sequence[dict[str, str]], answering: bool = True) -> str:
        """The prompt that the model's chat template makes. Raises UsageError when it refuses."""
        try:
            text: str = self._tokenizer.apply_chat_template(
                json.dumps(list(messages)), add_generation_prompt=answering
            )
            return text
        except Exception as error:
            raise UsageError(
                "The chat template of this package does not take these messages",
                str(error).splitlines()[0][:300],
                "most take user and assistant in turn, some a system message first",
            ) from error


class ReferenceTokenizer(GenaiTokenizer):
    """Hugging Face's `tokenizers`, which the model was trained with; templates are GenAI's still."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise MissingError(
                "This package's text needs the tokenizers library, which is not installed",
                "the engine's own tokenizer gives other ids for this model", "pip install tokenizers",
            ) from error  # fmt: skip
        self._reference = Tokenizer.from_str((folder / "tokenizer.json").read_text())

    def encode(self, text: str) -> list[int]:
        self._reference.encode_special_tokens = False
        return list(self._reference.encode(text, add_special_tokens=False).ids)

    def encode_plain(self, text: str) -> list[int]:
        self._reference.encode_special_tokens = True
        return list(self._reference.encode(text, add_special_tokens=False).ids)


def open_tokenizer(folder: Path, spec: TextSpec) -> GenaiTokenizer:
    return (ReferenceTokenizer if spec.tokenizer == "tokenizers" else GenaiTokenizer)(folder)


def library() -> Any:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime_genai
    except ImportError as error:
        raise MissingError(
            "This package runs on ONNX Runtime GenAI, which is not installed", str(error),
            "pip install 'edgekit[genai]'",
        ) from error  # fmt: skip
    return onnxruntime_genai


def _without_special_tokens(source: Path, into: Path) -> None:
    """The tokenizer's files, with no text that stands for a special token."""
    for name in ("genai_config.json", "tokenizer_config.json"):
        if (source / name).exists():
            (into / name).write_bytes((source / name).read_bytes())
    definition = json.loads((source / "tokenizer.json").read_text())
    definition["added_tokens"] = [
        t for t in definition.get("added_tokens") or [] if not t.get("special")
    ]
    (into / "tokenizer.json").write_text(json.dumps(definition))
