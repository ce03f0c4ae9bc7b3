"""Engine: language models through ONNX Runtime GenAI, with one KV cache that is kept across calls."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import IntegrityError, MissingError, UsageError
from edgekit.package import Package
from edgekit.runtime.cores import default_threads
from edgekit.runtime.engine import Array, EngineOptions
from edgekit.spec import TextSpec


class GenaiSession:
    """A model, its tokenizer, and the tokens its cache holds. Not for concurrent use."""

    def __init__(self, folder: Path, spec: TextSpec, options: EngineOptions) -> None:
        og = library()
        self.spec, self.threads = spec, options.threads or default_threads()
        self._og, self._folder = og, folder
        try:
            config = og.Config(str(folder))
            threads = {"intra_op_num_threads": self.threads, "inter_op_num_threads": 1}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
            self._model = og.Model(config)
            self._tokenizer = og.Tokenizer(self._model)
        except Exception as error:  # the library raises RuntimeError for everything
            raise IntegrityError(
                f"ONNX Runtime GenAI {og.__version__} cannot open this package",
                str(error).splitlines()[0][:300], "use the version its manifest names, or convert again",
            ) from error  # fmt: skip
        self._generator: Any = None
        self._held: list[int] = []  # what the cache holds
        self._special: dict[str, int] | None = None

    # --- text and tokens

    def encode(self, text: str) -> list[int]:
        """The ids of a text, special tokens in it as such, and without a beginning token."""
        return [int(i) for i in self._tokenizer.encode(text)] if text else []

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are nothing but characters."""
        if not any(mark in text for mark in self.special_tokens()):
            return self.encode(text)
        with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
            _without_special_tokens(self._folder, Path(folder))
            return [int(i) for i in self._og.Tokenizer(folder).encode(text)]

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

    # --- the model

    def start(self, tokens: Sequence[int]) -> int:
        """Make the cache hold exactly `tokens`, reading only what it lacks; returns how many were read."""
        tokens = list(tokens)
        common = 0
        for held, wanted in zip(self._held, tokens):
            if held != wanted:
                break
            common += 1
        common = min(common, len(tokens) - 1)  # the logits of the last one must be made
        if self._generator is None or common == 0:
            self._generator = self._create(1)
            common = 0
        elif common < len(self._held):
            self._generator.rewind_to(common)
        self._held = tokens[:common]
        self.append(tokens[common:])
        return len(tokens) - common

    def append(self, tokens: Sequence[int]) -> None:
        """Read tokens after those the cache holds."""
        self._generator.append_tokens(np.asarray(tokens, np.int32))
        self._held += tokens

    def logits(self) -> Array:
        """float32 (V,) for the token after those the cache holds."""
        row: Array = self._generator.get_logits()[0, -1]
        return row

    @property
    def held(self) -> int:
        return len(self._held)

    def batch(self, prompts: Sequence[Sequence[int]]) -> GenaiBatch:
        """Several texts at once; the cache of `start` is not touched."""
        return GenaiBatch(self._create(len(prompts)), prompts, self.spec.vocab_size)

    def constrained(
        self, tokens: Sequence[int], kind: str, grammar: str, search: dict[str, Any]
    ) -> Any:
        """A generator of onnxruntime-genai that follows a JSON schema, regular expression or grammar."""
        try:
            parameters = self._parameters(1, **search)
            parameters.set_guidance(kind, grammar)
            generator = self._og.Generator(self._model, parameters)
        except Exception as error:
            raise UsageError(
                "The output cannot be constrained so", str(error).splitlines()[0][:300],
                "pass a JSON schema that llguidance supports",
            ) from error  # fmt: skip
        generator.append_tokens(np.asarray(tokens, np.int32))
        return generator

    def _create(self, size: int) -> Any:
        return self._og.Generator(self._model, self._parameters(size))

    def _parameters(self, size: int, **search: Any) -> Any:
        parameters = self._og.GeneratorParams(self._model)
        parameters.set_search_options(max_length=self.spec.context_length, batch_size=size, **search)
        return parameters

    def reset(self) -> None:
        """Forget the cache."""
        self._generator, self._held = None, []

    def close(self) -> None:
        self.reset()
        for name in ("_tokenizer", "_model"):  # a second time is harmless
            vars(self).pop(name, None)


class GenaiBatch:
    """Texts side by side, all at the same position: shorter prompts begin their answer while longer
    ones are still read, so nothing is padded."""

    def __init__(self, generator: Any, prompts: Sequence[Sequence[int]], vocabulary: int) -> None:
        shortest = min(len(p) for p in prompts)
        self._generator = generator
        self._waiting = [list(p[shortest:])[::-1] for p in prompts]
        self._forced = np.empty((len(prompts), 1, vocabulary), np.float32)
        first = np.array([p[:shortest] for p in prompts], np.int32)
        generator.append_tokens(first.reshape(-1))

    def reading(self, row: int) -> bool:
        """Whether the prompt of a row is not read to its end yet."""
        return bool(self._waiting[row])

    def logits(self) -> Array:
        """float32 (B, V)."""
        rows: Array = self._generator.get_logits()[:, -1]
        return rows

    def append(self, chosen: Sequence[int]) -> None:
        """One token a row: the prompt's next where it is still read, `chosen` elsewhere."""
        self._forced.fill(-np.inf)
        for row, token in enumerate(chosen):
            self._forced[row, 0, self._waiting[row].pop() if self._waiting[row] else token] = 0.0
        self._generator.set_logits(self._forced)
        self._generator.generate_next_token()


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


class GenaiEngine:
    def open(self, package: Package, options: EngineOptions) -> GenaiSession:
        for name in package.manifest.files:  # the library reads the files itself
            package.check(name)
        return GenaiSession(package.folder, package.manifest.text, options)


engine = GenaiEngine()
