"""How four numbers make a box: corners or centre and size, in pixels or in 0..1 of the picture.

No shape says so, and exporters differ within one family. What a network gives does: over a grid of candidates
centres follow their cells, and so do both corners, but sizes do not; nor do corners end before they begin. Where
that shows nothing, as in a network without training, the family's usual form is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnx

from edgekit.errors import SourceError
from edgekit.graph.shapes import is_channels_last
from edgekit.runtime.engines.libraries import onnxruntime

if TYPE_CHECKING:
    from edgekit.graph.decoders.base import Heads

Array = np.ndarray[Any, Any]

_FOLLOWS = 0.8  # correlation with the place of a cell, at least
_SURELY = 0.95
_NEAR = 0.7  # of one: boxes may be cut at the picture's edges
_NEARLY_ALL = 0.99
_FEWEST = 5  # rows that tell
_MARGIN = 0.1  # of the picture, by which a decoded box may pass its edge


class Form(NamedTuple):
    corners: bool  # x1 y1 x2 y2; else centre x, centre y, width, height
    unit: bool  # in 0..1; else in pixels

    def words(self) -> str:
        what = "x1 y1 x2 y2" if self.corners else "centre, width and height"
        return f"{what} in {'0..1' if self.unit else 'pixels'}"


def in_pixels(heads: Heads, boxes: str, usual: Form) -> str:
    """Corners in pixels from boxes (1, N, 4) of whatever form."""
    form = usual
    values = sample(heads, boxes)
    if values is not None and values.ndim == 3 and np.isfinite(values).all():
        places = _places(heads, values.shape[1])
        if places is None:
            form = _off_grid(heads, values[0].astype(np.float64), usual)
        else:
            form = _on_grid(heads, values[0].astype(np.float64), places, usual)
    return _brought(heads, boxes, form, usual)


def rows_in_pixels(heads: Heads, boxes: str) -> str:
    """Corners in pixels from boxes (1, K, 4) after suppression, whose form is told from those that noise leaves."""
    usual = form = Form(corners=True, unit=False)
    values = sample(heads, boxes)
    if values is not None and values.ndim == 3 and np.isfinite(values).all():
        rows = values[0].astype(np.float64)
        rows = rows[(rows != rows[:, :1]).any(1)]  # without those that only fill
        if len(rows) >= _FEWEST:
            form = _off_grid(heads, rows, usual)
    return _brought(heads, boxes, form, usual)


def _brought(heads: Heads, boxes: str, form: Form, usual: Form) -> str:
    if form != usual:
        heads.notes.append(
            f"its boxes are {form.words()}, by what it gives for noise; other exports of its kind write {usual.words()}"
        )
    scale = heads.image_scale() if form.unit else None
    if not form.corners:
        return heads.corners(boxes, scale)
    return boxes if scale is None else heads.edit.op("Mul", boxes, heads.edit.const(scale))


def _places(heads: Heads, count: int) -> Array | None:
    """The middle of each candidate's cell in pixels, (N, 2)."""
    for anchors in (1, 3):
        strides = heads.strides(count, anchors)
        if strides:
            levels = [heads.grid((s,), offset=0.5)[0][0] * s for s in strides]
            return np.concatenate([np.tile(level, (anchors, 1)) for level in levels])
    return None


def _on_grid(heads: Heads, values: Array, places: Array, usual: Form) -> Form:
    """The form of boxes on a grid, told from the finest cells, which are most. Raises SourceError where boxes
    follow them in no known unit."""
    first = (places[1:, 1] < places[:-1, 1]).argmax() + 1 or len(places)  # a level starts at the top again
    values, places = values[:first], places[:first]
    moved = places - places.mean(0)
    spread = (moved**2).sum(0)
    if not spread.all():
        return usual
    from_mean = values - values.mean(0)
    slopes = [(moved[:, k % 2] * from_mean[:, k]).sum() / spread[k % 2] for k in range(4)]
    sizes = np.sqrt((from_mean**2).sum(0) * np.tile(spread, 2))
    follows = [slopes[k] * spread[k % 2] / max(sizes[k], 1e-12) for k in range(2)]
    if min(follows) < _FOLLOWS:
        return usual
    pixels = (slopes[0] + slopes[1]) / 2  # how far a box moves in its own unit, for a pixel of its cell
    unit = (slopes[0] * heads.width + slopes[1] * heads.height) / 2
    if not (_NEAR < pixels < 1 / _NEAR or _NEAR < unit < 1 / _NEAR):
        if min(follows) < _SURELY:
            return usual
        raise SourceError(
            "The unit of its boxes is none that edgekit knows",
            f"they move {pixels:.3g} for each pixel that their cells move, and are neither in pixels nor in 0..1",
            "export it with boxes in pixels of its input, or in 0..1",
        )
    corners = slopes[2] / slopes[0] + slopes[3] / slopes[1] > 1
    return Form(bool(corners), not _NEAR < pixels < 1 / _NEAR)


def _off_grid(heads: Heads, values: Array, usual: Form) -> Form:
    largest = np.abs(values).max(1)
    unit = usual.unit
    if np.quantile(largest, _NEARLY_ALL) < 1.5:
        unit = True
    elif np.median(largest) > 4:
        unit = False
    parts = values if unit else values / np.array(heads.image_scale())
    low, high = parts[:, :2], parts[:, 2:]
    ordered = (high > low).all(1).mean()
    ends = np.concatenate([low - high / 2, low + high / 2], 1)
    inside = ((ends > -_MARGIN) & (ends < 1 + _MARGIN)).all(1).mean()
    corners = usual.corners
    if corners and ordered < 1 - _MARGIN and inside > _NEARLY_ALL and (high > 0).all():
        corners = False
    elif not corners and ordered >= _NEARLY_ALL and inside < 0.8:
        corners = True
    return Form(corners, unit)


def sample(heads: Heads, name: str) -> Array | None:
    """The value of a tensor of the graph for a picture of noise, or None where the graph does not run."""
    ort = onnxruntime()

    view, image = heads.view, heads.image
    source = view.inputs[0]
    shape = view.shape(source)
    pixels = np.random.default_rng(0).integers(0, 256, (heads.height, heads.width, 3))
    noise: Array = pixels.astype(np.uint8)
    if view.types.get(source) != onnx.TensorProto.UINT8:
        noise = ((pixels - np.array(image.mean)) / np.array(image.std)).astype(np.float32)
    model = onnx.ModelProto()
    model.CopyFrom(heads.edit.model)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    _let_all_pass(model)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        ordered = noise if is_channels_last(shape) else noise.transpose(2, 0, 1)
        values: Array = session.run([name], {source: ordered.reshape(shape)})[0]
    except Exception:  # onnxruntime's exceptions share no base class
        return None
    return values


def _let_all_pass(model: onnx.ModelProto) -> None:
    """Sets the score thresholds of suppression so low that boxes in noise pass: otherwise none would."""
    least = onnx.numpy_helper.from_array(np.array([-np.inf], np.float32), "edgekit/least")
    model.graph.initializer.append(least)
    for node in model.graph.node:
        if node.op_type == "NonMaxSuppression" and len(node.input) > 4:
            node.input[4] = least.name
