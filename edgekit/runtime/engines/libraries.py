"""The libraries that engines run on. Each is imported when a package is opened, and not before.

An engine's file and the file that looks at its operators both need the library, so the look-ups are here, below both.
"""

from __future__ import annotations

import importlib
from contextlib import AbstractContextManager
from types import ModuleType

from edgekit.errors import MissingError
from edgekit.runtime.native import output_to
from edgekit.system.distribution import install
from edgekit.system.environment import keep_quiet

LITERT = ("ai_edge_litert", "tflite_runtime")  # modules, the preferred one first


def onnxruntime() -> ModuleType:
    """The module `onnxruntime`. Raises MissingError when it is not installed."""
    return _imported("onnxruntime", "ONNX Runtime", "runtime")


def onnxruntime_genai() -> ModuleType:
    """The module `onnxruntime_genai`. Raises MissingError when it is not installed."""
    return _imported("onnxruntime_genai", "ONNX Runtime GenAI", "genai")


def litert() -> ModuleType:
    """The module with `Interpreter`, of LiteRT or of tflite-runtime. Raises MissingError when neither can be used."""
    for name in LITERT:
        try:
            library = importlib.import_module(f"{name}.interpreter")
        except ImportError:
            continue
        numpy = importlib.import_module("numpy").__version__
        if name == "tflite_runtime" and int(numpy.split(".")[0]) > 1:
            raise MissingError(
                "tflite-runtime does not work with numpy 2",
                f"numpy {numpy} is installed",
                f"pip install 'numpy<2', or {install('litert')} for LiteRT",
            )
        return library
    raise MissingError(
        "This package runs on LiteRT, which is not installed",
        "",
        f"{install('litert')}, or tflite-runtime on an old board",
    )


def quiet() -> AbstractContextManager[None]:
    """LiteRT greets on the error stream from native code; what goes wrong is raised anyway."""
    return output_to(streams=(2,))


def _imported(module: str, title: str, extra: str) -> ModuleType:
    keep_quiet()
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingError(
            f"This package runs on {title}, which is not installed", str(error), install(extra)
        ) from error
