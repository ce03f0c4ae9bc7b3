"""Engine: language models in a .tflite, by LiteRT: two signatures of fixed sizes, `prompt` and `token`.

The interpreter may not be held while it runs, so each token copies the keys and values before it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgekit.errors import IntegrityError
from edgekit.package.folder import Package
from edgekit.runtime.cores import default_threads
from edgekit.runtime.engine import Array, EngineOptions, running
from edgekit.runtime.engines.fixed_text import FixedTextSession
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.genai_tokenizer import UPGRADE as TOKENIZER
from edgekit.runtime.engines.genai_tokenizer import open_tokenizer
from edgekit.runtime.engines.library_version import check_libraries, check_version
from edgekit.runtime.engines.litert import opened
from edgekit.spec import TextSpec

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


class Signature:
    """One of the graphs in a file."""

    def __init__(self, interpreter: Interpreter, name: str) -> None:
        self._runner = interpreter.get_signature_runner(name)
        self.inputs = {
            n: (tuple(int(d) for d in i["shape"]), i["dtype"]) for n, i in self._runner.get_input_details().items()
        }

    def run(self, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        given = {n: feeds[n].astype(dtype, copy=False) for n, (_, dtype) in self.inputs.items()}
        with running():
            outputs: dict[str, Array] = self._runner(**given)
        return outputs


def open_decoder(model: bytes, threads: int, path: str = "") -> Decoder:
    """`path`: of a file of these bytes, if there is one. Raises IntegrityError for a file that is no language model."""
    with opened(model, threads, path) as interpreter:
        prompt, token = (Signature(interpreter, name) for name in ("prompt", "token"))
    if not all(any(n.startswith("mask") for n in s.inputs) for s in (prompt, token)):
        raise IntegrityError(
            "The model in this package is no language model", "its signatures take no mask", "convert again"
        )
    return Decoder(prompt, token)


class LiteRtTextEngine:
    libraries, companions, extra = ("ai-edge-litert",), (), "genai,litert"

    def open(self, package: Package, options: EngineOptions) -> FixedTextSession:
        engine = package.manifest.engine
        check_version("ai-edge-litert", engine.versions)
        check_libraries(engine.libraries, TOKENIZER)
        for name in package.manifest.files:  # the tokenizer's library reads its files itself
            package.check(name)
        spec, threads = package.manifest.model_as(TextSpec), options.threads or default_threads()
        name = engine.artifact
        decoder = open_decoder(package.read(name), threads, str(package.folder / name))
        return FixedTextSession(decoder, open_tokenizer(package.folder, spec), spec, threads)


engine = LiteRtTextEngine()
