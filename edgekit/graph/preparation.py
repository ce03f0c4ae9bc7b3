"""How images are prepared for a detector: what its graph says about that, and what had to be assumed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgekit.graph.decoders.base import Decoder
from edgekit.graph.view import GraphView
from edgekit.spec import ImageSpec

_LEAST = 32.0  # what a pixel of 0..255 is divided by, at least, where a graph does so itself


def in_graph(view: GraphView, image: str) -> dict[str, Any]:
    """Fields of ImageSpec that follow from a graph that scales pixels of 0..255 itself; {} where it does not."""
    if not _scales(view, image):
        return {}
    return {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def _scales(view: GraphView, name: str) -> bool:
    for _ in range(8):
        consumers = view.consumers.get(name, [])
        if len(consumers) != 1:
            return False
        node = consumers[0]
        if node.op_type in ("Div", "Mul", "Sub", "Add"):
            others = [view.array(i) for i in node.input if i != name]
            if len(others) != 1 or others[0] is None or others[0].size not in (1, 3):
                return False
            size = float(np.abs(others[0].astype(np.float64)).min(initial=np.inf))
            if node.op_type == "Div" and node.input[0] == name:
                return size >= _LEAST
            if node.op_type == "Mul":
                return 0 < size <= 1 / _LEAST
            if size >= _LEAST:  # a mean in 0..255
                return True
        elif node.op_type not in (
            "Cast",
            "Transpose",
            "Identity",
            "Gather",
            "Unsqueeze",
            "Squeeze",
            "Reshape",
        ):
            return False
        name = node.output[0]
    return False


def prepared(
    view: GraphView, chosen: Decoder, image: ImageSpec, given: Mapping[str, Any]
) -> tuple[str, ...]:
    """A note on what no graph says and nobody said: how its authors prepare images was taken."""
    kept = {n: getattr(image, n) for n in ("resize", "color", "mean", "std") if n not in given}
    if not kept or not chosen.image:
        return ()
    words = []
    if "resize" in kept:
        words.append(f"--resize {image.resize}")
    if "color" in kept:
        words.append(f"--color {image.color}")
    for name in ("mean", "std"):
        if name in kept:
            words.append(f"--{name} {','.join(f'{v:g}' for v in getattr(image, name))}")
    return (
        f"how images are prepared is not in the graph; as the authors of {chosen.name} do was assumed: {' '.join(words)}",
    )
