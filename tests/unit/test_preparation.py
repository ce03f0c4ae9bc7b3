"""What a graph does to its image first says how images are to be prepared for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.heads import decode, ultralytics


def preparing(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """A detector whose graph does this to its image first; the last output is `prepared`."""
    model = ultralytics(3, 0)
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = "prepared" if name == "image" else name
    for at, node in enumerate(nodes):
        model.graph.node.insert(at, node)
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def test_a_graph_that_scales_pixels_takes_them_as_they_are() -> None:
    model = preparing(helper.make_node("Div", ["image", "top"], ["prepared"]), top=np.array(255, np.float32))
    assert decode(model)[1].image.std == (1.0, 1.0, 1.0)
    assert decode(ultralytics(3, 0))[1].image.std == (255.0, 255.0, 255.0)


@pytest.mark.parametrize(("top", "std"), [(255.0, 255.0), (1.0, 1.0)])
def test_a_mean_in_the_graph_says_what_it_is_taken_from(top: float, std: float) -> None:
    """Of 0..1 or of 0..255: the runtime leaves the rest to the graph."""
    numbers = np.array([123.675, 116.28, 103.53, 58.395, 57.12, 57.375], np.float32).reshape(2, 1, 3, 1, 1)
    mean, deviation = numbers / np.float32(top)
    nodes = [helper.make_node("Sub", ["image", "m"], ["less"]), helper.make_node("Div", ["less", "d"], ["prepared"])]
    image = decode(preparing(*nodes, m=mean, d=deviation))[1].image
    assert (image.mean, image.std) == ((0.0,) * 3, (std,) * 3)


@pytest.mark.parametrize("how", ["Gather", "Slice", "Split"])
def test_colours_that_the_graph_turns_round_are_fed_the_other_way(how: str) -> None:
    nodes = {
        "Gather": [helper.make_node("Gather", ["image", "order"], ["prepared"], axis=1)],
        "Slice": [helper.make_node("Slice", ["image", "from", "to", "axis", "step"], ["prepared"])],
        "Split": [
            helper.make_node("Split", ["image", "each"], ["r", "g", "b"], axis=1),
            helper.make_node("Concat", ["b", "g", "r"], ["prepared"], axis=1),
        ],
    }
    constants = {"order": [2, 1, 0], "from": [-1], "to": [-9], "axis": [1], "step": [-1], "each": [1, 1, 1]}
    assert decode(preparing(*nodes[how], **constants))[1].image.color == "bgr"
    assert decode(ultralytics(3, 0))[1].image.color == "rgb"
