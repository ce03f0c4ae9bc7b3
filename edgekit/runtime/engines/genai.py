"""Engine: language models through ONNX Runtime GenAI, with one KV cache that is kept across calls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import IntegrityError, UsageError
from edgekit.package.folder import Package
from edgekit.runtime.cores import default_threads
from edgekit.runtime.engine import Array, EngineOptions, running
from edgekit.runtime.engines.genai_texts import GenaiBatch, GenaiGuided
from edgekit.runtime.engines.genai_tokenizer import open_tokenizer
from edgekit.runtime.engines.libraries import onnxruntime_genai
from edgekit.runtime.engines.library_version import check_libraries
from edgekit.spec import Sampling, TextSpec
from edgekit.system.distribution import install

if TYPE_CHECKING:
    from onnxruntime_genai import Generator, GeneratorParams


class GenaiSession:
    """A model, its `tokenizer`, and the tokens its cache holds. Not for concurrent use."""

    batches, simulator = True, ""

    def __init__(self, folder: Path, spec: TextSpec, options: EngineOptions) -> None:
        og = onnxruntime_genai()
        self.spec, self.threads = spec, options.threads or default_threads()
        self._og = og
        try:
            config = og.Config(str(folder))
            threads = {"intra_op_num_threads": self.threads, "inter_op_num_threads": 1}
            config.overlay(json.dumps({"model": {"decoder": {"session_options": threads}}}))
            self._model = og.Model(config)
        except Exception as error:  # the library raises RuntimeError for everything
            raise IntegrityError(
                f"ONNX Runtime GenAI {og.__version__} cannot open this package",
                str(error).splitlines()[0][:300],
                "use the version its manifest names, or convert again",
            ) from error
        self.tokenizer = open_tokenizer(folder, spec)
        self._generator: Any = None
        self._held: list[int] = []  # what the cache holds

    def start(self, tokens: Sequence[int]) -> int:
        """Make the cache hold exactly `tokens`, reading only what it lacks; returns how many were read."""
        tokens = list(tokens)
        common = 0
        for held, token in zip(self._held, tokens):
            if held != token:
                break
            common += 1
        common = min(common, len(tokens) - 1)  # the logits of the last one must be made
        anew = self._generator is None or common == 0
        if anew or (common < len(self._held) and not self._rewound(common)):
            self._generator = self._create(1)
            common = 0
        self._held = tokens[:common]
        self.append(tokens[common:])
        return len(tokens) - common

    def _rewound(self, count: int) -> bool:
        """Whether the cache could go back: what convolutions keep of earlier tokens is gone."""
        try:
            self._generator.rewind_to(count)
        except RuntimeError:
            return False
        return True

    def append(self, tokens: Sequence[int]) -> None:
        """Read tokens after those the cache holds."""
        with running():
            self._generator.append_tokens(np.asarray(tokens, np.int32))
        self._held += tokens

    def logits(self) -> Array:
        """float32 (V,) for the token after those the cache holds."""
        with running():
            row: Array = self._generator.get_logits()[0, -1]
        return row

    @property
    def held(self) -> int:
        return len(self._held)

    def batch(self, prompts: Sequence[Sequence[int]]) -> GenaiBatch:
        """Several texts at once; the cache of `start` is not touched."""
        return GenaiBatch(self._create(len(prompts)), prompts, self.spec.vocab_size)

    def guided(self, tokens: Sequence[int], schema: str, sampling: Sampling, seed: int | None = None) -> GenaiGuided:
        """A text after `tokens` that follows a JSON schema. Raises UsageError for one that llguidance cannot follow."""
        search: dict[str, float] = {
            "do_sample": sampling.temperature > 0,
            "temperature": sampling.temperature or 1.0,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "repetition_penalty": sampling.repetition_penalty,
        }
        if seed is not None:
            search["random_seed"] = seed
        try:
            parameters = self._parameters(1, **search)
            parameters.set_guidance("json_schema", schema)
            generator = self._og.Generator(self._model, parameters)
        except Exception as error:
            raise UsageError(
                "The output cannot be constrained so",
                str(error).splitlines()[0][:300],
                "pass a JSON schema that llguidance supports",
            ) from error
        return GenaiGuided(generator, tokens)

    def _create(self, size: int) -> Generator:
        with running():
            return self._og.Generator(self._model, self._parameters(size))

    def _parameters(self, size: int, **search: float) -> GeneratorParams:
        parameters = self._og.GeneratorParams(self._model)
        parameters.set_search_options(max_length=self.spec.context_length, batch_size=size, **search)
        return parameters

    def reset(self) -> None:
        """Forget the cache."""
        self._generator, self._held = None, []

    def close(self) -> None:
        self.reset()
        self.tokenizer.close()
        vars(self).pop("_model", None)  # a second time is harmless


class GenaiEngine:
    libraries, companions, extra = ("onnxruntime-genai",), (), "genai"

    def open(self, package: Package, options: EngineOptions) -> GenaiSession:
        check_libraries(package.manifest.engine.libraries, install(self.extra, upgrade=True))
        for name in package.manifest.files:  # the library reads the files itself
            package.check(name)
        return GenaiSession(package.folder, package.manifest.model_as(TextSpec), options)


engine = GenaiEngine()
