"""Engine: ONNX Runtime on the CPU, with inputs and outputs bound to buffers that are reused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import IntegrityError
from edgekit.package.folder import Package
from edgekit.runtime.cores import default_threads
from edgekit.runtime.engine import Array, EngineOptions, graph_spec, running
from edgekit.runtime.engines.libraries import onnxruntime
from edgekit.spec import TensorSpec

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, SessionOptions


Sizes = dict[str, tuple[tuple[int, ...], str]]  # shape and dtype by name


def sizes(tensors: Iterable[TensorSpec]) -> Sizes:
    return {t.name: (t.shape, t.dtype) for t in tensors}


class OnnxRuntimeSession:
    simulator = ""

    def __init__(self, model: bytes, inputs: Sizes, outputs: Sizes, options: EngineOptions) -> None:
        ort = onnxruntime()
        self.threads = options.threads or default_threads()
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = self.threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 4  # errors are raised, and name what a file says
        self._session = self._create(ort, model, settings)
        _compare(self._session, set(inputs), set(outputs))
        with running():  # a graph may be of other types and sizes than its manifest says
            self._bind(ort, inputs, outputs)

    def _bind(self, ort: ModuleType, inputs: Sizes, outputs: Sizes) -> None:
        self._binding = self._session.io_binding()
        self._inputs = {n: np.zeros(shape, dtype) for n, (shape, dtype) in inputs.items()}
        self._outputs: dict[str, Array] = {}
        for name, array in self._inputs.items():
            self._binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        self._open: list[str] = []  # outputs whose size differs from image to image
        for name, (shape, dtype) in outputs.items():
            if -1 in shape:
                self._open.append(name)
            else:
                self._outputs[name] = np.zeros(shape, dtype)
                value = ort.OrtValue.ortvalue_from_numpy(self._outputs[name])
                self._binding.bind_ortvalue_output(name, value)
        self._order = [n for n in outputs if n not in self._open] + self._open  # as they are bound first

    def _create(self, ort: ModuleType, model: bytes, settings: SessionOptions) -> InferenceSession:
        try:
            return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise IntegrityError(
                f"ONNX Runtime {ort.__version__} cannot open this package",
                str(error).splitlines()[0][:300],
                "use the version its manifest names, or convert again",
            ) from error

    def input(self, name: str) -> Array:
        return self._inputs[name]

    def run(self, inputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        for name, array in (inputs or {}).items():
            np.copyto(self._inputs[name], array)
        with running():
            for name in self._open:  # again: what it was bound to has the size of the image before
                self._binding.bind_output(name, "cpu")
            self._session.run_with_iobinding(self._binding)
            if self._open:
                values = dict(zip(self._order, self._binding.get_outputs()))
                for name in self._open:
                    self._outputs[name] = values[name].numpy()
        return self._outputs

    def close(self) -> None:
        for name in ("_binding", "_session"):  # a second time is harmless
            vars(self).pop(name, None)


def _compare(session: InferenceSession, inputs: set[str], outputs: set[str]) -> None:
    """The graph must have what the manifest says, before anything is bound to it."""
    have_in = {v.name for v in session.get_inputs()}
    have_out = {v.name for v in session.get_outputs()}
    if have_in != inputs or not outputs <= have_out:
        raise IntegrityError(
            "The model in this package is not the one its manifest describes",
            f"it takes {sorted(have_in)} and gives {sorted(have_out)}",
            "convert again",
        )


class OnnxRuntimeEngine:
    libraries, companions, extra = ("onnxruntime",), (), "runtime"
    in_browsers = True

    def open(self, package: Package, options: EngineOptions) -> OnnxRuntimeSession:
        graph, artifact = graph_spec(package), package.read(package.manifest.engine.artifact)
        return OnnxRuntimeSession(artifact, sizes(graph.inputs), sizes(graph.outputs), options)


engine = OnnxRuntimeEngine()
