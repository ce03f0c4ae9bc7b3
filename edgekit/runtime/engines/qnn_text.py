"""Engine: language models on Qualcomm's NPU, in graphs of fixed sizes; in its simulator elsewhere.

A package holds host.onnx, which the CPU runs, the tokenizer's files, and for each chip a folder of
contexts: prompt-0.onnx, prompt-1.onnx … and token-0.onnx …, the parts of the two graphs.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING

from edgekit.errors import IntegrityError
from edgekit.package.folder import Package
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.engines.fixed_text import FixedTextSession
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.genai_tokenizer import open_tokenizer
from edgekit.runtime.engines.libraries import onnxruntime
from edgekit.runtime.engines.library_version import check_libraries
from edgekit.runtime.engines.onnxruntime_chain import Chain
from edgekit.runtime.engines.qnn import choose, compiler, libraries_of, open_context, simulated
from edgekit.spec import TextSpec
from edgekit.system.distribution import install

if TYPE_CHECKING:
    from onnxruntime import SessionOptions


HOST = "host.onnx"


def _settings(ort: ModuleType) -> SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 4  # errors are raised, and name what a file says
    return settings


def _parts(package: Package, folder: PurePosixPath, kind: str) -> list[str]:
    """The files of a graph, in order. Raises IntegrityError when one is missing."""
    names: list[str] = []
    while (name := f"{folder}/{kind}-{len(names)}.onnx") in package.manifest.files:
        names.append(name)
    if not names:
        raise IntegrityError(f"{package.path.name} has no {kind} graph", "its manifest lists none", "convert again")
    return names


class QnnTextEngine:
    libraries, companions, extra = ("onnxruntime-qnn",), ("onnxruntime",), "genai,qnn"

    def open(self, package: Package, options: EngineOptions) -> FixedTextSession:
        soc = choose(package, options)
        check_libraries(libraries_of(package), install(self.extra, upgrade=True))
        for name in package.manifest.files:  # the tokenizer's library reads its files itself
            package.check(name)
        ort = onnxruntime()
        host = ort.InferenceSession(package.read(HOST), _settings(ort), providers=["CPUExecutionProvider"])
        folder = PurePosixPath(package.manifest.engine.chips[soc]).parent
        prompt, token = (
            Chain(
                host, [open_context(ort, package.read(n), _settings(ort), soc) for n in _parts(package, folder, kind)]
            )
            for kind in ("prompt", "token")
        )
        spec = package.manifest.model_as(TextSpec)
        simulator = f"HTP simulator, {compiler()}" if simulated() else ""
        threads = 1  # of the CPU, which only looks up rows
        tokenizer = open_tokenizer(package.folder, spec)
        return FixedTextSession(Decoder(prompt, token), tokenizer, spec, threads, simulator)


engine = QnnTextEngine()
