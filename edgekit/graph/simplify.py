"""Pass: fold constants and batch norm, raise the opset.

Requires: fixed input shapes. Ensures: opset ≥ 17, weights are initializers (quantisers do not
look inside Constant nodes), no Identity or batch norm that can be folded, standard operators
only. The work is ONNX Runtime's own "basic" level, whose rewrites keep the function.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx

from edgekit.errors import ConversionError, SourceError
from edgekit.model import OPSET
from edgekit.runtime.engines.libraries import onnxruntime


def simplify(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    ort = onnxruntime()

    model = _constant_weights(model)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    if opset < OPSET:
        try:
            model = onnx.version_converter.convert_version(model, OPSET)
        except Exception as error:  # the converter raises RuntimeError and its own kinds
            raise SourceError(
                f"{name} uses ONNX opset {opset}, which cannot be raised to {OPSET}",
                str(error).splitlines()[0][:200],
                "export the model again with a newer opset",
            ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "folded.onnx"
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            if "serialization failed" in str(error):
                raise ConversionError(
                    f"A temporary file cannot be written to {folder}",
                    str(error).splitlines()[0][:300],
                    "free some space, or set TMPDIR to another folder",
                ) from error
            raise SourceError(
                f"ONNX Runtime cannot load {name}",
                str(error).splitlines()[0][:300],
                "check the file with `python -m onnx.checker`, or export it again",
            ) from error
        return onnx.load(str(path))


def _constant_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Removes weights from the inputs: before IR version 4 they were listed there too, which keeps them from
    being folded."""
    weights = {t.name for t in model.graph.initializer}
    if not any(v.name in weights for v in model.graph.input):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    inputs = [v for v in result.graph.input if v.name not in weights]
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    result.ir_version = max(result.ir_version, 8)
    return result
