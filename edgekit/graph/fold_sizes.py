"""Pass: inputs that only tell the image's size become constants.

Requires nothing. Ensures: `orig_target_sizes` (RT-DETR, D-FINE), `im_shape` and `scale_factor` (PaddleDetection)
and their like hold the size of the input tensor, so that boxes leave in its pixels as everywhere; the runtime
brings them to the image's. Other inputs stay for `fix_shapes` to refuse.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekit.errors import UsageError
from edgekit.graph.shapes import spatial_axes
from edgekit.graph.view import GraphView

_FACTORS = ("scale_factor", "scale_factors", "ratio")
_PADDLE = ("im_shape", "im_info")


def fold_sizes(
    model: onnx.ModelProto, size: tuple[int, int] | None, name: str
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The graph, and notes on what was folded. Raises UsageError when the image's size is open and not given."""
    view = GraphView(model)
    images = [i for i in view.inputs if len(view.shape(i)) == 4]
    folded = {i: view.shape(i) for i in view.inputs if i not in images and _is_size(i, view.shape(i))}
    if len(images) != 1 or not folded or len(folded) + 1 != len(view.inputs):
        return model, ()
    shape = view.shape(images[0])
    height, width = (shape[a] for a in spatial_axes(shape))
    if size is not None:
        height, width = (s if d == -1 else d for s, d in zip(size, (height, width)))
    if height == -1 or width == -1:
        raise UsageError(
            f"The image size of {name} is open",
            f"its input {images[0]} is {shape}",
            "say which one: --image-size 640, or --image-size HEIGHTxWIDTH",
        )
    result = onnx.ModelProto()
    result.CopyFrom(model)
    inputs = [v for v in result.graph.input if v.name not in folded]
    del result.graph.input[:]
    result.graph.input.extend(inputs)
    notes = []
    for value, own in folded.items():
        numbers = _numbers(value, own, height, width)
        dtype = helper.tensor_dtype_to_np_dtype(view.types[value])
        array = np.array(numbers, dtype).reshape([1] * (len(own) - 1) + [len(numbers)])
        result.graph.initializer.append(numpy_helper.from_array(array, value))
        notes.append(
            f"its input {value} is always {' '.join(f'{n:g}' for n in numbers)}: boxes leave in the input's pixels"
        )
    return result, tuple(notes)


def _is_size(name: str, shape: tuple[int, ...]) -> bool:
    if not 1 <= len(shape) <= 2 or shape[-1] not in (2, 3) or (len(shape) == 2 and shape[0] not in (1, -1)):
        return False
    words = name.lower()
    return any(w in words for w in (*_FACTORS, *_PADDLE, "size", "shape", "dims"))


def _numbers(name: str, shape: tuple[int, ...], height: int, width: int) -> tuple[float, ...]:
    words = name.lower()
    if any(w in words for w in _FACTORS):
        return (1.0,) * shape[-1]
    if shape[-1] == 3:  # height, width, scale
        return float(height), float(width), 1.0
    if any(w in words for w in (*_PADDLE, "shape")):
        return float(height), float(width)
    return float(width), float(height)  # RT-DETR, D-FINE and DEIM multiply x by the first
