"""The gate that graphs of fixed sizes pass: they read the same tokens as the builder's graph, on the CPU,
and must agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx

from edgekit.errors import ConversionError
from edgekit.package.receipt import Measurement, Provenance
from edgekit.runtime.engine import Array
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.libraries import onnxruntime as library
from edgekit.runtime.text.sampling import log_softmax

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


_BUILT = "model.onnx"
_EXACT = "exact.onnx"
_FOR_SPEED = ("accuracy_level", "sliding_window_cache")
_EQUAL = 1e-4  # of the largest logit: the order of additions
_NEAR = 0.05  # nats; two correct BitNets are 0.001 to 0.002 apart
_ONE_BY_ONE = 6  # tokens of the probe, after those that the prompt graph reads


def write_exact(built: Path) -> Path:
    """The builder's graph as a reference that has no cache: a file beside it. Inputs are not rounded, and
    windows need no room of their size."""
    model = onnx.load(str(built / _BUILT), load_external_data=False)
    for node in model.graph.node:
        attributes = [a for a in node.attribute if a.name not in _FOR_SPEED]
        del node.attribute[:]
        node.attribute.extend(attributes)
    onnx.save(model, str(built / _EXACT))
    return built / _EXACT


def equal(exact: Path, ours: Decoder, vocabulary: int, head: int, step: int, what: str) -> Measurement:
    """`exact`: the builder's graph; `what`: names ours. Raises ConversionError when they differ.

    A network that rounds as it runs (BitNet) has no equal: a value on the edge of a step goes either way.
    There the divergence of the predictions is looked at.
    """
    first = step * 3 // 4 + 1  # the prompt graph's step is not full then
    tokens = np.random.default_rng(0).integers(0, vocabulary, first + _ONE_BY_ONE).tolist()
    theirs = open_on_cpu(exact)
    actual, expected = list[Array](), list[Array]()
    for end in range(first, len(tokens) + 1):
        ours.read(tokens[ours.held : end])
        actual.append(ours.logits)
        expected.append(theirs.run(["logits"], _feeds(theirs, tokens[:end], head))[0][0, -1])
    largest = max(float(np.abs(e).max()) for e in expected)
    if _rounds(exact):
        name, unit, limit = "KL divergence", "nats", _NEAR
        differ = float(np.mean([_divergence(e, f) for e, f in zip(expected, actual)]))
    else:
        name, unit, limit = "logits max error", "1", _EQUAL * max(largest, 1.0)
        differ = max(float(np.abs(e - f).max()) for e, f in zip(expected, actual))
    if not differ <= limit:
        raise ConversionError(
            f"Graphs of fixed sizes changed this network's predictions: {name} {differ:.3g}",
            "a rule of the lowering is wrong for it",
            "please report it, with config.json if you can",
        )
    return Measurement(
        "gate",
        f"{what}: {name}",
        differ,
        unit,
        Provenance.MEASURED,
        len(actual),
        note=f"against the builder's graph, logits up to {largest:.1f}",
    )


def _rounds(path: Path) -> bool:
    graph = onnx.load(str(path), load_external_data=False).graph
    return any(n.op_type == "Round" for n in graph.node)


def _divergence(expected: Array, actual: Array) -> float:
    p, q = (log_softmax(x.astype(np.float64)) for x in (expected, actual))
    return float((np.exp(p) * (p - q)).sum())


def open_on_cpu(path: Path) -> InferenceSession:
    """A session of ONNX Runtime."""
    ort = library()
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    return ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def _feeds(session: InferenceSession, tokens: list[int], head: int) -> dict[str, Array]:
    """The inputs for a whole text with an empty cache."""
    count = len(tokens)
    feeds = {
        "input_ids": np.array([tokens]),
        "attention_mask": np.ones((1, count), np.int64),
        "position_ids": np.arange(count)[None],
    }
    past = {
        i.name: np.zeros((1, i.shape[1], 0, head), np.float32)
        for i in session.get_inputs()
        if i.name.startswith("past_")
    }
    return {i.name: {**feeds, **past}[i.name] for i in session.get_inputs()}
