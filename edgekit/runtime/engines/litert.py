"""Engine: TFLite files, by LiteRT (ai-edge-litert) or, where only that is installed, tflite-runtime.

Both have the same Interpreter. Inputs and outputs are copied once each: the interpreter's own
memory may not be held while it runs, and it reuses an input's memory for other tensors, so that
the padding around an image would have to be written again for each frame, which costs the same.
LiteRT's CompiledModel is not used: it runs the same kernels at the same speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import IntegrityError
from edgekit.package.folder import Package
from edgekit.runtime.cores import default_threads
from edgekit.runtime.engine import Array, EngineOptions, graph_spec, running
from edgekit.runtime.engines.libraries import litert, quiet
from edgekit.runtime.engines.library_version import check_version
from edgekit.runtime.engines.litert_check import check
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter


class LiteRtSession:
    simulator = ""

    def __init__(
        self, model: bytes, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], options: EngineOptions
    ) -> None:
        self.threads = options.threads or default_threads()
        with opened(model, self.threads) as self._interpreter:
            self._at = _places(self._interpreter, inputs, outputs)
        self._inputs = {t.name: np.zeros(t.shape, t.dtype) for t in inputs}
        self._outputs = {t.name: np.zeros(t.shape, t.dtype) for t in outputs}

    def input(self, name: str) -> Array:
        return self._inputs[name]

    def run(self, inputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        for name, array in (inputs or {}).items():
            np.copyto(self._inputs[name], array)
        for name, array in self._inputs.items():
            self._interpreter.set_tensor(self._at[name], array)
        with running():  # also an output that turns out in another shape
            self._interpreter.invoke()
            for name, array in self._outputs.items():
                np.copyto(array, self._interpreter.tensor(self._at[name])())
        return self._outputs

    def close(self) -> None:
        vars(self).pop("_interpreter", None)  # a second time is harmless


@contextmanager
def opened(model: bytes, threads: int, path: str = "") -> Iterator[Interpreter]:
    """An interpreter with its memory, to be looked at. `path`: a file of these bytes, to be mapped and not
    held. Raises IntegrityError for what the library cannot open, and for names in it that are none."""
    library = litert()
    try:
        check(model)  # on some broken files the library ends the process
        with quiet():
            source = {"model_path": path} if path else {"model_content": model}
            interpreter = library.Interpreter(**source, num_threads=threads)
            interpreter.allocate_tensors()
        yield interpreter
    except (RuntimeError, ValueError) as error:
        raise IntegrityError(
            f"{library.__name__.split('.')[0]} cannot open this package",
            _first_line(error),
            "use the version its manifest names, or convert again",
        ) from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:300]


def _places(
    interpreter: Interpreter, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> dict[str, int]:
    """Where each tensor of the manifest is, once the file has what the manifest says."""
    places = {}
    for tensors, details in ((inputs, interpreter.get_input_details()), (outputs, interpreter.get_output_details())):
        have = {
            d["name"]: (tuple(map(int, d["shape"])), np.dtype(d["dtype"]).name, *d["quantization"]) for d in details
        }
        if have != {t.name: (t.shape, t.dtype, t.scale or 0.0, t.zero_point) for t in tensors}:
            raise IntegrityError(
                "The model in this package is not the one its manifest describes", f"it has {have}", "convert again"
            )
        places.update({d["name"]: int(d["index"]) for d in details})
    return places


class LiteRtEngine:
    libraries, companions, extra = ("ai-edge-litert", "tflite-runtime"), (), "litert"

    def open(self, package: Package, options: EngineOptions) -> LiteRtSession:
        graph = graph_spec(package)
        if litert().__name__.startswith("ai_edge_litert"):
            check_version("ai-edge-litert", package.manifest.engine.versions)
        artifact = package.read(package.manifest.engine.artifact)
        return LiteRtSession(artifact, graph.inputs, graph.outputs, options)


engine = LiteRtEngine()
