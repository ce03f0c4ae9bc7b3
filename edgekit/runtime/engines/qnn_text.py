"""Engine: language models on Qualcomm's NPU, in graphs of fixed sizes; in its simulator elsewhere.

A package holds host.onnx, which the CPU runs, the tokenizer's files, and for each chip a folder of
contexts: prompt-0.onnx, prompt-1.onnx … and token-0.onnx …, the parts of the two graphs.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any, NoReturn

from edgekit.errors import IntegrityError, UsageError
from edgekit.package import Package
from edgekit.runtime.engine import Array, EngineOptions
from edgekit.runtime.engines.genai_tokenizer import open_tokenizer
from edgekit.runtime.engines.onnxruntime import library
from edgekit.runtime.engines.qnn import choose, compiler, open_context, simulated
from edgekit.runtime.engines.qnn_text_decoder import Chain, Decoder

HOST = "host.onnx"


class QnnTextSession:
    """A model, its `tokenizer`, and the tokens its cache holds. Not for concurrent use."""

    simulator = ""

    batches = False

    def __init__(self, package: Package, options: EngineOptions) -> None:
        soc = choose(package, options)
        for name in package.manifest.files:  # the tokenizer's library reads its files itself
            package.check(name)
        if simulated():
            self.simulator = f"HTP simulator, {compiler()}"
        self.spec, self.threads = package.manifest.text, 1  # of the CPU, which only looks up rows
        ort = library()
        host = ort.InferenceSession(
            package.read(HOST), _settings(ort), providers=["CPUExecutionProvider"]
        )
        folder = PurePosixPath(package.manifest.engine.chips[soc]).parent
        prompt, token = (
            Chain([open_context(ort, package.read(n), _settings(ort), soc) for n in _parts(package, folder, kind)])
            for kind in ("prompt", "token")
        )  # fmt: skip
        self._decoder = Decoder(host, prompt, token)
        self.tokenizer = open_tokenizer(package.folder, self.spec)
        self._held: list[int] = []

    def start(self, tokens: Sequence[int]) -> int:
        """Make the cache hold exactly `tokens`, reading only what it lacks; returns how many were read."""
        same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(self._held, tokens))
        kept = min(sum(1 for _ in same), len(tokens) - 1)  # the logits of the last one must be made
        self._held, self._decoder.held = list(tokens[:kept]), kept
        self.append(tokens[kept:])
        return len(tokens) - kept

    def append(self, tokens: Sequence[int]) -> None:
        """Read tokens after those the cache holds."""
        self._decoder.read(tokens)
        self._held += tokens

    def logits(self) -> Array:
        """float32 (V,) for the token after those the cache holds."""
        return self._decoder.logits

    @property
    def held(self) -> int:
        return len(self._held)

    def constrained(self, tokens: Sequence[int], kind: str, grammar: str, search: Any) -> NoReturn:
        raise UsageError(
            "A schema is not available on an NPU", "its graphs read one text, and edgekit chooses its tokens",
            "ask for JSON in the prompt and check it, or use -t cpu",
        )  # fmt: skip

    def reset(self) -> None:
        """Forget the cache."""
        self._held, self._decoder.held = [], 0

    def close(self) -> None:
        vars(self).pop("_decoder", None)  # a second time is harmless


def _settings(ort: Any) -> Any:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    return settings


def _parts(package: Package, folder: PurePosixPath, kind: str) -> list[str]:
    """The files of a graph, in order. Raises IntegrityError when one is missing."""
    found: list[str] = []
    while (name := f"{folder}/{kind}-{len(found)}.onnx") in package.manifest.files:
        found.append(name)
    if not found:
        raise IntegrityError(
            f"{package.path.name} has no {kind} graph", "its manifest lists none", "convert again"
        )
    return found


class QnnTextEngine:
    def open(self, package: Package, options: EngineOptions) -> QnnTextSession:
        return QnnTextSession(package, options)


engine = QnnTextEngine()
