"""Which parts of a detector may be quantised, read off the shape of the graph.

The body is the convolutions and what leads from one to the next. What follows the last of them
decodes boxes: its coordinates span hundreds of pixels and its probabilities one, so it stays in
float.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from edgekit.graph.view import GraphView

QUANTISABLE = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "Sigmoid",
        "Mul",
        "Add",
        "Concat",
        "AveragePool",
        "GlobalAveragePool",
        "Resize",
        "Split",
        "Slice",
        "Relu",
        "LeakyRelu",
        "Clip",
        "HardSigmoid",
        "Reshape",
        "Transpose",
        "Gather",
        "Pad",
    }
)
_ONE_INPUT = frozenset({"Resize", "Slice", "Split", "Reshape", "Clip", "Gather", "Pad"})  # the rest is shapes
_ACTIVATIONS = frozenset({"Sigmoid", "Mul", "Relu", "LeakyRelu", "Clip", "HardSigmoid", "HardSwish"})


@dataclass(frozen=True)
class Regions:
    """Names of nodes. `body` may be quantised; `boundary` are those of it that hand the tail its
    numbers and stay in float; each of `units` is a convolution with its own activation."""

    body: tuple[str, ...]
    boundary: frozenset[str]
    units: tuple[tuple[str, ...], ...]


def find_regions(model: onnx.ModelProto) -> Regions:
    view = GraphView(model)
    leads = _leading_to_convolutions(view)
    body = [n for n in model.graph.node if n.name in leads]  # in topological order
    names = {n.name for n in body}
    boundary = _boundary(view, body, names)
    units = [_unit(view, node, names) for node in body if node.op_type == "Conv" and node.name not in boundary]
    return Regions(tuple(n.name for n in body), boundary, tuple(units))


def _leading_to_convolutions(view: GraphView) -> set[str]:
    """Convolutions, and what they depend on through quantisable operations alone."""
    names: set[str] = set()
    todo = [n for n in view.model.graph.node if n.op_type in ("Conv", "ConvTranspose")]
    while todo:
        node = todo.pop()
        if node.name in names or node.op_type not in QUANTISABLE:
            continue
        names.add(node.name)
        data = node.input[:1] if node.op_type in _ONE_INPUT else node.input
        todo.extend(view.producers[i] for i in data if i in view.producers)
    return names


def _boundary(view: GraphView, body: list[onnx.NodeProto], names: set[str]) -> frozenset[str]:
    """Joins and convolutions that only the tail reads: one scale would hold unlike things, and
    rounding there goes straight into boxes and scores."""
    boundary: set[str] = set()
    for node in reversed(body):
        readers = [c.name for o in node.output for c in view.consumers.get(o, [])]
        outside = all(r not in names or r in boundary for r in readers)
        if outside and node.op_type in ("Concat", "Conv"):
            boundary.add(node.name)
    return frozenset(_up_to_last_conv(view, boundary))


def _up_to_last_conv(view: GraphView, chain: set[str]) -> set[str]:
    """Reduces each chain of convolutions that only the tail reads to its last one."""
    last = set()
    for name in chain:
        node = next(n for n in view.model.graph.node if n.name == name)
        readers = [c for o in node.output for c in view.consumers.get(o, [])]
        if node.op_type == "Concat" or not any(r.op_type == "Conv" and r.name in chain for r in readers):
            last.add(name)
    return last


def _unit(view: GraphView, conv: onnx.NodeProto, names: set[str]) -> tuple[str, ...]:
    readers = view.consumers.get(conv.output[0], [])
    own = [r.name for r in readers if r.op_type in _ACTIVATIONS and r.name in names]
    return (conv.name, *own)
