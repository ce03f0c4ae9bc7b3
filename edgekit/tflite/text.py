"""A language model as one .tflite with two signatures: `prompt` reads a step of tokens, `token` reads one.

What they take and give is written in edgekit/fixed_text/graphs.py, with ids and positions in place of
what is looked up for them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgekit.fixed_text.gate import equal, write_exact
from edgekit.fixed_text.graphs import whole
from edgekit.package.receipt import Measurement
from edgekit.progress import Progress
from edgekit.runtime.engines.litert_text import open_decoder
from edgekit.spec import Precision
from edgekit.tflite.lowering import lower
from edgekit.tflite.merge import merge
from edgekit.tflite.text_weights import rounded

_IDS = ("input_ids", "position_ids")
_THREADS = 1  # of the gate: the order of additions is the same on any machine


@dataclass(frozen=True)
class TextFile:
    data: bytes
    gate: Measurement


def text_file(built: Path, context: int, step: int, precision: Precision, progress: Progress) -> TextFile:
    """`built`: what onnxruntime-genai's builder wrote, in float32. Raises ConversionError when the file
    computes something else before its weights are rounded."""
    exact = write_exact(built)
    source = onnx.load(str(exact))
    head = json.loads((built / "genai_config.json").read_text(encoding="utf-8"))["model"]["decoder"]["head_size"]
    files = {}
    for index, (name, width) in enumerate((("prompt", step), ("token", 1))):
        progress("writing TFLite", index, 2)
        graph = whole(source, head, width, context)
        files[name] = lower(graph, ids=_IDS).data
    data = merge(files)
    vocabulary = source.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    gate = equal(exact, open_decoder(data, _THREADS), vocabulary, head, step, "in LiteRT, in float")
    exact.unlink()
    if precision is not Precision.FP32:
        data = merge({name: rounded(file, precision, vocabulary) for name, file in files.items()})
    progress("writing TFLite", 2, 2)
    return TextFile(data, gate)
