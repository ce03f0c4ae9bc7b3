"""A language model's graphs for the NPU, and the gate they pass before they are compiled.

The builder's graph and the two made of it read the same tokens on the CPU and must agree: the compiler
takes graphs that compute something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgekit.errors import ConversionError
from edgekit.graph.view import attribute
from edgekit.progress import Progress
from edgekit.qnn.text_graphs import decoder, host
from edgekit.receipt import Measurement, Provenance
from edgekit.runtime.engines.onnxruntime import library
from edgekit.runtime.engines.qnn_text_decoder import Chain, Decoder

_BUILT = "model.onnx"
_EXACT = "exact.onnx"
_EQUAL = 1e-4  # of the largest logit: the order of additions
_ONE_BY_ONE = 6  # tokens of the probe, after those that the prompt graph reads


@dataclass(frozen=True)
class TextGraphs:
    """Files in one folder: the parts of both graphs, and the host's."""

    host: Path
    prompt: tuple[Path, ...]
    token: tuple[Path, ...]
    gate: Measurement


def prepare_text(
    built: Path, into: Path, context: int, step: int, limit: float, half: bool, progress: Progress
) -> TextGraphs:  # fmt: skip
    """`built`: what onnxruntime-genai's builder wrote. `limit`: bytes of weights in a part. `half`: keep
    the embedding in 16 bits. Raises ConversionError when the graphs compute something else."""
    exact = _exact(built)
    source = onnx.load(str(exact))
    head = json.loads((built / "genai_config.json").read_text())["model"]["decoder"]["head_size"]
    files: dict[str, tuple[Path, ...]] = {}
    for index, (kind, width) in enumerate((("prompt", step), ("token", 1))):
        progress("preparing for the NPU", index, 2)
        graph = decoder(source, head, width, context)
        files[kind] = tuple(_written(graph.parts(limit), into, kind))
    beside = into / "host.onnx"
    onnx.save(host(source, graph.tables, context, half=False), str(beside))
    gate = _equal(exact, beside, files, graph.vocabulary, head, step)
    if half:  # not before the gate, which would see it
        onnx.save(host(source, graph.tables, context, half), str(beside))
    exact.unlink()
    progress("preparing for the NPU", 2, 2)
    return TextGraphs(beside, files["prompt"], files["token"], gate)


def _exact(built: Path) -> Path:
    """The builder's graph with inputs that are not rounded, as the NPU does not round them either."""
    model = onnx.load(str(built / _BUILT), load_external_data=False)
    for node in model.graph.node:
        if attribute(node, "accuracy_level") is not None:
            kept = [a for a in node.attribute if a.name != "accuracy_level"]
            del node.attribute[:]
            node.attribute.extend(kept)
    onnx.save(model, str(built / _EXACT))
    return built / _EXACT


def _written(parts: Iterator[onnx.ModelProto], into: Path, kind: str) -> Iterator[Path]:
    for index, part in enumerate(parts):
        path = into / f"{kind}-{index}.onnx"
        onnx.save(part, str(path))
        yield path


def _equal(
    exact: Path, beside: Path, files: dict[str, tuple[Path, ...]], vocabulary: int, head: int, step: int
) -> Measurement:  # fmt: skip
    first = step * 3 // 4 + 1  # the prompt graph's step is not full then
    tokens = np.random.default_rng(0).integers(0, vocabulary, first + _ONE_BY_ONE).tolist()
    ours = Decoder(_open(beside), *(Chain([_open(p) for p in files[k]]) for k in ("prompt", "token")))
    theirs = _open(exact)
    worst, largest = 0.0, 0.0
    for end in range(first, len(tokens) + 1):
        ours.read(tokens[ours.held : end])
        expected = theirs.run(["logits"], _feeds(theirs, tokens[:end], head))[0][0, -1]
        worst = max(worst, float(np.abs(ours.logits - expected).max()))
        largest = max(largest, float(np.abs(expected).max()))
    if not worst <= _EQUAL * max(largest, 1.0):
        raise ConversionError(
            f"Preparing this network for the NPU changed its predictions by {worst:.3g}",
            "a rule of the lowering is wrong for it", "please report it, with config.json if you can",
        )  # fmt: skip
    return Measurement("gate", "prepared graphs on the CPU: logits max error", worst, "1", Provenance.MEASURED,
                       _ONE_BY_ONE + 1, note=f"against the builder's graph, logits up to {largest:.1f}")  # fmt: skip


def _open(path: Path) -> Any:
    ort = library()
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def _feeds(session: Any, tokens: list[int], head: int) -> dict[str, np.ndarray[Any, Any]]:
    """A whole text, with nothing before it."""
    count = len(tokens)
    given = {"input_ids": np.array([tokens]), "attention_mask": np.ones((1, count), np.int64),
             "position_ids": np.arange(count)[None]}  # fmt: skip
    past = {
        i.name: np.zeros((1, i.shape[1], 0, head), np.float32)
        for i in session.get_inputs() if i.name.startswith("past_")
    }  # fmt: skip
    return {i.name: {**given, **past}[i.name] for i in session.get_inputs()}
