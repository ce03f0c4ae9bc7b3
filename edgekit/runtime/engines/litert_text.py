"""Engine: language models in a .tflite, by LiteRT: two signatures of fixed sizes, `prompt` and `token`.

The interpreter may not be held while it runs, so each token copies the keys and values before it in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgekit.errors import IntegrityError, MissingError
from edgekit.package import Package
from edgekit.runtime.cores import default_threads
from edgekit.runtime.engine import Array, EngineOptions, running
from edgekit.runtime.engines.fixed_text import FixedTextSession
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.genai_tokenizer import open_tokenizer
from edgekit.runtime.engines.litert import opened


class Signature:
    """One of the graphs in a file."""

    def __init__(self, interpreter: Any, name: str) -> None:
        self._runner = interpreter.get_signature_runner(name)
        self.inputs = {
            n: (tuple(int(d) for d in i["shape"]), i["dtype"])
            for n, i in self._runner.get_input_details().items()
        }

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        given = {n: feeds[n].astype(dtype, copy=False) for n, (_, dtype) in self.inputs.items()}
        with running():
            made: dict[str, Array] = self._runner(**given)
        return made


def open_decoder(model: bytes, threads: int, path: str = "") -> Decoder:
    """`path`: of a file of these bytes, if there is one. Raises IntegrityError for a file that is no language model."""
    with opened(model, threads, path) as interpreter:
        prompt, token = (Signature(interpreter, name) for name in ("prompt", "token"))
    if not all(any(n.startswith("mask") for n in s.inputs) for s in (prompt, token)):
        raise IntegrityError(
            "The model in this package is no language model",
            "its signatures take no mask",
            "convert again",
        )
    return Decoder(prompt, token)


def _check_version(versions: str) -> None:
    """Older libraries open these files and compute something else: 1.2 with small integers in blocks.
    Raises MissingError where this one is older than `>=X.Y,…` asks for."""
    first = re.match(r">=(\d+)\.(\d+)", versions)
    try:
        found = version("ai-edge-litert")
    except PackageNotFoundError:
        found = ""
    have = tuple(int(n) for n in re.findall(r"\d+", found)[:2])
    if first and have < tuple(int(n) for n in first.groups()):
        raise MissingError(
            f"This package needs LiteRT {'.'.join(first.groups())} or later",
            f"ai-edge-litert {found} is installed" if found else "ai-edge-litert is not installed",
            "pip install -U 'edgekit[litert]'",
        )  # fmt: skip


class LiteRtTextEngine:
    def open(self, package: Package, options: EngineOptions) -> FixedTextSession:
        _check_version(package.manifest.engine.versions)
        for name in package.manifest.files:  # the tokenizer's library reads its files itself
            package.check(name)
        spec, threads = package.manifest.text, options.threads or default_threads()
        name = package.manifest.engine.artifact
        decoder = open_decoder(package.read(name), threads, str(package.folder / name))
        return FixedTextSession(decoder, open_tokenizer(package.folder, spec), spec, threads)


engine = LiteRtTextEngine()
