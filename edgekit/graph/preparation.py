"""How images are prepared for a detector: what its graph says about that, and what had to be assumed."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TypeAlias

import numpy as np
import onnx

from edgekit.graph.decoders.base import Decoder
from edgekit.graph.view import Array, GraphView
from edgekit.spec import ImageSpec

Three: TypeAlias = tuple[float, float, float]  # a value for each colour

_MOVES = ("Cast", "Transpose", "Identity", "Gather", "Unsqueeze", "Squeeze", "Reshape")
_LEAST = 32.0  # what a pixel of 0..255 is divided by, at least, where a graph does so itself


def in_graph(view: GraphView, image: str, usual: str = "rgb") -> dict[str, str | Three]:
    """Fields of ImageSpec that follow from what a graph does to its image before its first layer. `usual`: the order of
    colours that its family's layers take."""
    settings: dict[str, str | Three] = {}
    for node, array in _first_steps(view, image):
        if node.op_type in ("Gather", "Slice", "Concat"):
            settings["color"] = "rgb" if usual == "bgr" else "bgr"
        elif "std" not in settings and array is not None:
            size = float(np.abs(array.astype(np.float64)).min(initial=np.inf))
            if node.op_type == "Mul":
                size = 1 / size if size else 0.0
            if size >= _LEAST and node.op_type != "Add":  # what scales 0..255, or a mean of it
                settings |= {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
            elif node.op_type == "Sub" and array.size == 3 and size < 1:  # a mean of 0..1
                settings |= {"mean": (0.0, 0.0, 0.0), "std": (255.0, 255.0, 255.0)}
    return settings


def _first_steps(view: GraphView, name: str) -> Iterator[tuple[onnx.NodeProto, Array | None]]:
    """Arithmetic with constants and changes of the colours' order, from the image to the first layer."""
    for _ in range(12):
        consumers = view.consumers.get(name, [])
        if len(consumers) != 1:
            return
        node = consumers[0]
        if node.op_type in ("Div", "Mul", "Sub", "Add"):
            others = [view.array(i) for i in node.input if i != name]
            if len(others) != 1 or others[0] is None or others[0].size not in (1, 3):
                return
            if node.op_type == "Div" and node.input[0] != name:
                return
            yield node, others[0]
        elif _turns_colours(view, node):
            yield node, None
        elif node.op_type == "Split":
            after = {n.name or n.output[0]: n for o in node.output for n in view.consumers.get(o, [])}
            joined = next(iter(after.values()), node)
            if len(after) != 1 or list(joined.input) != list(node.output)[::-1] or len(joined.input) != 3:
                return
            node = joined
            yield node, None
        elif node.op_type not in _MOVES:
            return
        name = node.output[0]


def _turns_colours(view: GraphView, node: onnx.NodeProto) -> bool:
    """Whether a node puts the third of three channels first."""
    parts = [view.array(i) for i in node.input[1:]]
    if node.op_type == "Gather":
        return parts[0] is not None and parts[0].ravel().tolist() == [2, 1, 0]
    if node.op_type != "Slice" or len(parts) < 4 or parts[2] is None or parts[3] is None:
        return False
    shape = view.shape(node.input[0])
    return parts[3].tolist() == [-1] and bool(shape) and shape[int(parts[2][0])] == 3


def prepared(view: GraphView, decoder: Decoder, image: ImageSpec, settings: Container[str]) -> tuple[str, ...]:
    """Notes on the preparation of images that neither the graph nor the user states, and that was assumed from
    the decoder's authors."""
    defaults = {n: getattr(image, n) for n in ("resize", "color", "mean", "std") if n not in settings}
    if not defaults or not decoder.image:
        return ()
    words = []
    if "resize" in defaults:
        words.append(f"--resize {image.resize}")
    if "color" in defaults:
        words.append(f"--color {image.color}")
    for name in ("mean", "std"):
        if name in defaults:
            words.append(f"--{name} {','.join(f'{v:g}' for v in getattr(image, name))}")
    return (
        f"how images are prepared is not in the graph; as the authors of {decoder.name} do was assumed: {' '.join(words)}",
    )
