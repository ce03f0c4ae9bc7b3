"""Operators that place pixels anew: resizing, and blocks of pixels from or to channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import CHANNELS_LAST, arrange
from edgekit.tflite.operators.spatial import image
from edgekit.tflite.state import Array, Lowering, lowers


@dataclass(frozen=True)
class _Side:
    """One axis of a resize, with the arithmetic of ONNX Runtime, which is in float32."""

    size: int
    out: int
    scale: float

    def source(self, how: str) -> Any:
        """Where each target pixel lies in the source; None for coordinates that ONNX lacks too."""
        target, scale = np.arange(self.out, dtype=np.float32), np.float32(self.scale)
        half = np.float32(0.5)
        if how == "asymmetric":
            return target / scale
        if how == "align_corners":
            return target * np.float32(self.size - 1) / np.float32(max(self.out - 1, 1))
        if how == "pytorch_half_pixel" and self.out == 1:
            return np.zeros(1, np.float32)
        if how == "half_pixel_symmetric":
            shift = np.float32(self.size / 2 * (1 - self.out / (self.scale * self.size)))
            return shift + (target + half) / scale - half
        return (target + half) / scale - half if how.endswith("half_pixel") else None

    def nearest(self, how: str, rounding: str) -> Array:
        x = self.source(how)
        half = np.float32(0.5)
        rounded = {
            "floor": np.floor(x),
            "ceil": np.ceil(x),
            "round_prefer_floor": np.ceil(x - half),
            "round_prefer_ceil": np.floor(x + half),
        }[rounding]
        return np.clip(rounded, 0, self.size - 1).astype(np.int32)

    def tflite_nearest(self, half: bool) -> Array:
        step = np.float32(self.size) / np.float32(self.out)
        picks = np.floor((np.arange(self.out, dtype=np.float32) + np.float32(0.5 * half)) * step)
        return np.minimum(picks, self.size - 1).astype(np.int32)

    def tflite_linear(self, corners: bool, half: bool) -> Array:
        step = np.float32(self.size) / np.float32(self.out)
        if corners and self.out > 1:
            step = np.float32(self.size - 1) / np.float32(self.out - 1)
        shift = np.float32(0.5 * half)
        return (np.arange(self.out, dtype=np.float32) + shift) * step - shift


@lowers("Resize")
def resize(to: Lowering, node: onnx.NodeProto) -> None:
    x = node.input[0]
    shape, out = image(to, x), to.shape(node.output[0])
    mode = attribute(node, "mode", b"nearest").decode()
    how = attribute(node, "coordinate_transformation_mode", b"half_pixel").decode()
    if shape[:2] != out[:2] or mode not in ("nearest", "linear"):
        raise to.cannot(f"TFLite resizes height and width, nearest or linear, not {mode} to {list(out)}")
    if attribute(node, "antialias", 0) and (out[2] < shape[2] or out[3] < shape[3]):
        raise to.cannot("TFLite's resize does not smooth what it makes smaller")
    scales = _scales(to, node)
    sides = [_Side(shape[a], out[a], scales.get(a, out[a] / shape[a])) for a in (2, 3)]
    if sides[0].source(how) is None:
        raise to.cannot(f"TFLite has no resize with coordinates {how}")
    if mode == "nearest":
        _nearest(to, node, sides, how)
    else:
        _linear(to, node, sides, how)


def _scales(to: Lowering, node: onnx.NodeProto) -> dict[int, float]:
    """By axis, where the node gives scales: sizes are rounded from them, coordinates are not."""
    factors = to.constant(node.input[2]) if len(node.input) > 2 else None
    if factors is None or not factors.size:
        return {}
    axes = attribute(node, "axes") or range(4)
    return {a % 4: float(s) for a, s in zip(axes, factors)}


def _nearest(to: Lowering, node: onnx.NodeProto, sides: list[_Side], how: str) -> None:
    """TFLite's own operator where it picks the same pixels, else a gather for each axis."""
    rounding = attribute(node, "nearest_mode", b"round_prefer_floor").decode()
    indices = [side.nearest(how, rounding) for side in sides]
    for half in (False, True):
        if all((w == s.tflite_nearest(half)).all() for w, s in zip(indices, sides)):
            options = schema.ResizeNearestNeighborOptionsT()
            options.halfPixelCenters = half
            inputs = [to.take(node.input[0], CHANNELS_LAST), to.ints([s.out for s in sides])]
            to.put(node.output[0], "RESIZE_NEAREST_NEIGHBOR", inputs, CHANNELS_LAST, options)
            return
    shape = arrange(to.shape(node.input[0]), CHANNELS_LAST)
    tensor, _ = _gather(to, to.take(node.input[0], CHANNELS_LAST), shape, 1, indices[0])
    inputs = [tensor, to.ints(indices[1])]
    to.put(node.output[0], "GATHER", inputs, CHANNELS_LAST, _along(2))


def _linear(to: Lowering, node: onnx.NodeProto, sides: list[_Side], how: str) -> None:
    """TFLite's own operator where its coordinates are the same, else two gathers for each axis."""
    x, result = node.input[0], node.output[0]
    tensor, shape = to.take(x, CHANNELS_LAST), arrange(to.shape(x), CHANNELS_LAST)
    places = [np.clip(s.source(how), 0, s.size - 1) for s in sides]
    for corners, half in ((False, False), (True, False), (False, True)):
        theirs = [np.clip(s.tflite_linear(corners, half), 0, s.size - 1) for s in sides]
        if all(np.abs(a - b).max() < 1e-4 for a, b in zip(places, theirs)):
            options = schema.ResizeBilinearOptionsT()
            options.alignCorners, options.halfPixelCenters = corners, half
            inputs = [tensor, to.ints([s.out for s in sides])]
            to.put(result, "RESIZE_BILINEAR", inputs, CHANNELS_LAST, options)
            return
    for axis, (side, place) in enumerate(zip(sides, places), 1):
        low = np.floor(place)
        share = (place - low).reshape(-1, *[1] * (3 - axis))
        first, after = _gather(to, tensor, shape, axis, low)
        second, after = _gather(to, tensor, shape, axis, np.minimum(low + 1, side.size - 1))
        parts = [
            to.temporary("MUL", [t, to.floats(w)], after, options=schema.MulOptionsT())
            for t, w in ((first, 1 - share), (second, share))
        ]
        if axis == 1:
            tensor, shape = to.temporary("ADD", parts, after, options=schema.AddOptionsT()), after
    to.put(result, "ADD", parts, CHANNELS_LAST, schema.AddOptionsT())


def _gather(to: Lowering, tensor: int, shape: tuple[int, ...], axis: int, picks: Array) -> tuple[int, tuple[int, ...]]:
    after = (*shape[:axis], len(picks), *shape[axis + 1 :])
    return to.temporary("GATHER", [tensor, to.ints(picks)], after, options=_along(axis)), after


def _along(axis: int) -> schema.GatherOptionsT:
    options = schema.GatherOptionsT()
    options.axis = axis
    return options


@lowers("SpaceToDepth", "DepthToSpace")
def blocks(to: Lowering, node: onnx.NodeProto) -> None:
    x, size = node.input[0], attribute(node, "blocksize")
    shape = image(to, x)
    tensor = to.take(x, CHANNELS_LAST)
    options: Any = schema.SpaceToDepthOptionsT()
    if node.op_type == "DepthToSpace":
        options = schema.DepthToSpaceOptionsT()
        if attribute(node, "mode", b"DCR") == b"CRD":  # TFLite reads channels as block, then depth
            channels = np.arange(shape[1]).reshape(-1, size**2).T.ravel()
            tensor, _ = _gather(to, tensor, arrange(shape, CHANNELS_LAST), 3, channels)
    options.blockSize = size
    kind = "SPACE_TO_DEPTH" if node.op_type == "SpaceToDepth" else "DEPTH_TO_SPACE"
    to.put(node.output[0], kind, [tensor], CHANNELS_LAST, options)
