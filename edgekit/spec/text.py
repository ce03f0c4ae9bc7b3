"""Causal language models: what the manifest says of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True)
class Sampling:
    """What a model's authors recommend (generation_config.json); temperature 0 is greedy."""

    temperature: float = 0.0
    top_k: int = 0  # 0: no limit
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class TextSpec:
    """A causal language model: what its engine needs besides ONNX Runtime GenAI's own files.

    `context_length` tokens are kept, and the KV cache is allocated for as many; `kv_cache_bytes` is
    its size then, `kv_cache` what it holds. `stop`: ids that end a text. `vocabulary` names the file
    of the tokens' bytes.
    """

    noun: ClassVar[str] = "language model"
    verb: ClassVar[str] = "edgekit generate PACKAGE"

    family: str  # the architecture, as Hugging Face names it
    vocab_size: int  # logits a position
    context_length: int
    trained_context: int
    kv_cache_bytes: int
    stop: tuple[int, ...]
    bos: int | None = None
    add_bos: bool = False  # before a bare prompt; a chat template writes its own
    chat: bool = False  # whether there is a chat template
    sampling: Sampling = Sampling()
    vocabulary: str = "tokens.bin"
    tokenizer: Literal["genai", "tokenizers"] = "genai"  # what makes ids of text
    kv_cache: Literal["float32", "float16", "int8"] = "float32"
    task: str = "text-generation"

    @property
    def working_bytes(self) -> int:
        return self.kv_cache_bytes

    @property
    def files(self) -> tuple[str, ...]:
        """Names of files that a package has for this besides its artefacts."""
        return (self.vocabulary, *(("tokenizer.json",) if self.tokenizer == "tokenizers" else ()))

    def facts(self) -> list[tuple[str, str]]:
        s, megabytes = self.sampling, self.kv_cache_bytes / 1e6
        how = "greedy" if s.temperature == 0 else f"temperature {s.temperature:g}, top-k {s.top_k}, top-p {s.top_p:g}"
        context = f"{self.context_length} tokens (trained for {self.trained_context})"
        return [
            ("family", f"{self.family}, {self.vocab_size} tokens, {'with' if self.chat else 'no'} chat template"),
            ("context", f"{context}, KV cache {megabytes:.2f} MB of {self.kv_cache}"),
            ("sampling", f"{how}; ends at {', '.join(map(str, self.stop)) or 'nothing'}"),
        ]

    def check(self) -> None:
        """Raises ValueError for what no engine should be asked to do."""
        if not 0 < self.vocab_size <= 2**22:
            raise ValueError(f"{self.vocab_size} is no size of a vocabulary")
        if not 0 < self.context_length <= 2**22:
            raise ValueError(f"{self.context_length} is no length of a context")
        ids = (*self.stop, *(() if self.bos is None else (self.bos,)))
        if not all(0 <= i < self.vocab_size for i in ids) or (self.add_bos and self.bos is None):
            raise ValueError("its special tokens are not in its vocabulary")
        s = self.sampling
        if not (0 <= s.temperature <= 100 and s.top_k >= 0 and 0 < s.top_p <= 1 and 0 <= s.min_p < 1):
            raise ValueError("its sampling means nothing")
        if not 0 < s.repetition_penalty <= 100:
            raise ValueError("its sampling means nothing")
