"""Ranges of activations, from calibration images: exact extremes, and a sample of the values.

One image and a few hundred megabytes at a time, whatever the model's size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from edgekit.graph.view import GraphView
from edgekit.runtime.engines.libraries import onnxruntime

Array = np.ndarray[Any, Any]
Range = tuple[float, float]
_SAMPLES = 4096  # values kept of each tensor and image
_BATCH_BYTES = 512 * 2**20


@dataclass
class Statistics:
    low: float = math.inf
    high: float = -math.inf
    sample: list[Array] = field(default_factory=list)


def collect(
    model: onnx.ModelProto, tensors: Iterable[str], feeds: Iterable[dict[str, Array]], done: Callable[[], None]
) -> dict[str, Statistics]:
    """Statistics of `tensors` over all `feeds`; `done` is called after each."""
    ort = onnxruntime()

    view = GraphView(model)
    inputs = set(view.inputs)
    batches = _batches(view, [t for t in tensors if t not in inputs])
    sessions = []
    for batch in batches:
        probe = onnx.ModelProto()
        probe.CopyFrom(model)
        have = {o.name for o in probe.graph.output}
        probe.graph.output.extend(onnx.ValueInfoProto(name=t) for t in batch if t not in have)
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.log_severity_level = 3
        sessions.append(ort.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"]))
    generator = np.random.default_rng(0)
    picks: dict[int, Array] = {}
    statistics: dict[str, Statistics] = {}
    for feed in feeds:
        for session, batch in zip(sessions, batches):
            values = dict(zip(batch, session.run(batch, feed)))
            for name, value in {**feed, **values}.items():
                flat = value.ravel()
                if not flat.size:  # suppression in the graph left nothing of this image
                    statistics.setdefault(name, Statistics())
                    continue
                if flat.size not in picks:
                    picks[flat.size] = generator.integers(0, flat.size, min(_SAMPLES, flat.size))
                one = statistics.setdefault(name, Statistics())
                one.low = min(one.low, float(flat.min()))
                one.high = max(one.high, float(flat.max()))
                one.sample.append(flat[picks[flat.size]])
        done()
    return statistics


def _batches(view: GraphView, tensors: list[str]) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    size = 0
    for name in tensors:
        own = 4 * math.prod(abs(d) for d in view.shape(name))
        if size + own > _BATCH_BYTES and batches[-1]:
            batches.append([])
            size = 0
        batches[-1].append(name)
        size += own
    return batches


def around_zero(seen: Statistics) -> Range:
    """The extremes, with 0 between them and something between those."""
    low = min(seen.low, 0.0)
    return low, max(seen.high, 0.0, low + 1e-6)


def choose(model: onnx.ModelProto, statistics: dict[str, Statistics]) -> dict[str, Range]:
    """Min-max ranges that include 0, but tighter where the next operation makes it free.

    A value before SiLU (x·sigmoid(x)) that is far below zero comes out as nearly zero whatever it
    was, so the lower end is chosen by the error *after* the activation. The upper end is never
    clipped: confident detections live there. A sigmoid has a known range.
    """
    view = GraphView(model)
    ranges = {n: around_zero(s) for n, s in statistics.items()}
    for name, s in statistics.items():
        readers = view.consumers.get(name, [])
        if s.sample and sorted(r.op_type for r in readers) == ["Mul", "Sigmoid"]:
            ranges[name] = _silu_range(ranges[name], np.concatenate(s.sample)[::2])
        node = view.producers.get(name)
        if node is not None and node.op_type == "Sigmoid":
            ranges[name] = (0.0, 255 / 256)  # scale 1/256: every kernel's own
    return ranges


def _silu_range(full: Range, sample: Array) -> Range:
    low, high = full[0], max(full[1], 0.1)
    exact = _silu(sample)
    best, lowest = math.inf, low
    for share in np.linspace(1.0, 0.05, 24):
        if share < 1.0 and low * share > -1.3:  # SiLU's minimum is at -1.28; it must be inside
            break
        error = float(np.square(_silu(fake_quantise(sample, low * share, high)) - exact).mean())
        if error < best:
            best, lowest = error, float(low * share)
    return lowest, high


def _silu(x: Array) -> Array:
    return x / (1 + np.exp(-np.maximum(x, -80.0)))  # exp(80) is still a float32


def fake_quantise(x: Array, low: float, high: float, levels: int = 255) -> Array:
    """x rounded to `levels` + 1 steps over [low, high], as float."""
    scale = (high - low) / levels
    zero = round(-low / scale)
    return (np.clip(np.round(x / scale) + zero, 0, levels) - zero) * scale
