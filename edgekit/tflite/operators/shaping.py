"""Operators that move or pick values: reshapes, transposes, slices, gathers, joins."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import Order, arrange, identity, last, without
from edgekit.tflite.state import Array, DType, Lowering, lowers

_LONGEST_SLICE = 5  # dimensions


@lowers("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(to: Lowering, node: onnx.NodeProto) -> None:
    to.put_reshaped(node.input[0], node.output[0])


@lowers("Transpose")
def transpose(to: Lowering, node: onnx.NodeProto) -> None:
    """Writes no operator: only the order of the axes is recorded."""
    x = node.input[0]
    perm = attribute(node, "perm") or list(reversed(range(to.rank(x))))
    order = to.order(x)
    to.alias(node.output[0], to.take(x, order), tuple(perm.index(a) for a in order))


@lowers("Concat")
def concat(to: Lowering, node: onnx.NodeProto) -> None:
    result = node.output[0]
    rank = to.rank(result)
    order = to.common_order(node.input, rank)
    options = schema.ConcatenationOptionsT()
    options.axis = order.index(attribute(node, "axis") % rank)
    inputs = [to.take(i, order) for i in node.input if math.prod(to.shape(i))]
    to.put(result, "CONCATENATION", inputs, order, options)


@lowers("Split")
def split(to: Lowering, node: onnx.NodeProto) -> None:
    x, results = node.input[0], list(node.output)
    order = to.order(x)
    axis = order.index(attribute(node, "axis", 0) % len(order))
    tensor, read = to.take(x), [r for r in results if r]
    sizes = [to.shape(r)[order[axis]] for r in read]
    if len(set(sizes)) == 1 and len(read) == len(results):  # the even one is what delegates know
        options: Any = schema.SplitOptionsT()
        options.numSplits = len(sizes)
        to.put_all(results, "SPLIT", [to.ints(axis), tensor], order, options)
        return
    start = 0
    for result, size in zip(results, _split_sizes(to, node, len(results))):
        begin = [0] * len(order)
        begin[axis] = start
        start += size
        if to.readers(result) or result in to.view.outputs:
            ends = to.ints(arrange(to.shape(result), order))
            to.put(result, "SLICE", [tensor, to.ints(begin), ends], order, schema.SliceOptionsT())


def _split_sizes(to: Lowering, node: onnx.NodeProto, parts: int) -> list[int]:
    if len(node.input) > 1 and node.input[1]:
        return [int(d) for d in to.fixed(1, "sizes")]
    whole = to.shape(node.input[0])[attribute(node, "axis", 0)]
    each = -(-whole // parts)
    return [min(each, whole - each * i) for i in range(parts)]


@lowers("Slice")
def slice_(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    shape, order = to.shape(x), to.order(x)
    rank = len(shape)
    starts, ends = to.fixed(1, "start"), to.fixed(2, "end")
    present = [i for i in range(3, 5) if len(node.input) > i and node.input[i]]
    axes = to.fixed(3, "axes") if 3 in present else np.arange(len(starts))
    steps = to.fixed(4, "steps") if 4 in present else np.ones(len(starts), int)
    ranges = {a: range(d) for a, d in enumerate(shape)}
    for start, end, axis, step in zip(starts, ends, axes, steps):
        ranges[axis % rank] = range(shape[axis])[int(start) : int(end) : int(step)]
    extents = [ranges[a] for a in order]
    if rank <= _LONGEST_SLICE:
        kind, inputs, options = _cut(to, to.take(x), extents)
        to.put(result, kind, inputs, order, options)
        return
    tensor = _part(to, to.take(x), arrange(shape, order), extents, to.dtype(x))
    to.alias(result, to.reshape(tensor, [len(r) for r in extents], to.dtype(x)), order)


def _cut(to: Lowering, tensor: int, extents: Sequence[range]) -> tuple[str, list[int], object]:
    """The operator that keeps a range of each dimension, its inputs and options."""
    begin = to.ints([r.start for r in extents])
    if all(r.step == 1 for r in extents):
        return "SLICE", [tensor, begin, to.ints([len(r) for r in extents])], schema.SliceOptionsT()
    options = schema.StridedSliceOptionsT()
    # a backward range ends before index 0, which only the mask can say
    options.endMask = sum(1 << i for i, r in enumerate(extents) if r.stop < 0)
    ends, steps = to.ints([max(r.stop, 0) for r in extents]), to.ints([r.step for r in extents])
    return "STRIDED_SLICE", [tensor, begin, ends, steps], options


def _part(to: Lowering, tensor: int, shape: Sequence[int], extents: Sequence[range], dtype: DType) -> int:
    """A range of each dimension; neighbours that stay whole count as one where there are many."""
    if len(shape) > _LONGEST_SLICE:
        cut = [i if r != range(shape[i]) else None for i, r in enumerate(extents)]
        groups = [list(g) for _, g in itertools.groupby(range(len(shape)), lambda i: cut[i])]
        shape = [math.prod(shape[i] for i in group) for group in groups]
        extents = [range(d) if cut[g[0]] is None else extents[g[0]] for d, g in zip(shape, groups)]
        if len(shape) > _LONGEST_SLICE:
            raise to.cannot(f"TFLite slices tensors of at most {_LONGEST_SLICE} dimensions")
        tensor = to.reshape(tensor, shape, dtype)
    kind, inputs, options = _cut(to, tensor, extents)
    return to.temporary(kind, inputs, [len(r) for r in extents], dtype, options)


@lowers("Gather")
def gather(to: Lowering, node: onnx.NodeProto) -> None:
    x, indices, result = node.input[0], node.input[1], node.output[0]
    rank, more = to.rank(x), to.rank(indices)
    axis = attribute(node, "axis", 0) % rank
    order = to.order(x)
    options = schema.GatherOptionsT()
    options.axis = order.index(axis)
    spread: list[int] = []  # the axis gives way to those of the indices
    for a in order:
        spread += range(axis, axis + more) if a == axis else [a if a < axis else a + more - 1]
    picks = to.constant(indices)
    if picks is not None and picks.ndim == 0 and to.constant(x) is None:
        _picked(to, x, result, axis, int(picks) % to.shape(x)[axis])
        return
    tensor = _indices(to, indices, to.shape(x)[axis])
    table = to.constant(x)
    if picks is None and (axis, rank) == (0, 2) and table is not None and table.dtype == np.float32:
        _looked_up(to, x, result, tensor, math.prod(to.shape(indices)))
        return
    to.put(result, "GATHER", [to.take(x, order), tensor], tuple(spread), options)


def _looked_up(to: Lowering, table: str, result: str, indices: int, count: int) -> None:
    """Rows of a table of weights: the one operator that reads them from small integers."""
    flat = to.reshape(indices, (count,), np.int32)
    rows = [flat, to.take(table)]
    width, dtype = to.shape(table)[1], to.dtype(table)
    embeddings = to.temporary("EMBEDDING_LOOKUP", rows, (count, width), dtype)
    shape = to.shape(result)
    to.alias(result, to.reshape(embeddings, shape, dtype), identity(len(shape)))


def _indices(to: Lowering, name: str, sizes: int | Array) -> int:
    """Indices from the front: TFLite has none from the end. Computed ones are taken as they are."""
    picks = to.constant(name)
    if picks is None:
        return to.take(name, identity(to.rank(name)))
    return to.ints(np.where(picks < 0, picks + sizes, picks))


def _picked(to: Lowering, x: str, result: str, axis: int, index: int) -> None:
    """One index of an axis: a slice, from memory where that axis comes first, not last.

    Channel shuffles pick every other channel so; both halves share the one transpose.
    """
    order = to.order(x)
    if order[-1] == axis:
        order = (axis, *order[:-1])
    shape = arrange(to.shape(x), order)
    extents = [range(index, index + 1) if a == axis else range(d) for a, d in zip(order, shape)]
    tensor = _part(to, to.take(x, order), shape, extents, to.dtype(x))
    after = without(order, [axis])
    to.alias(result, to.reshape(tensor, arrange(to.shape(result), after), to.dtype(x)), after)


@lowers("GatherElements")
def gather_elements(to: Lowering, node: onnx.NodeProto) -> None:
    """A gather from the flat values: index · stride of the axis + where the other axes are."""
    x, indices, result = node.input[0], node.input[1], node.output[0]
    shape, out = to.shape(x), to.shape(result)
    axis = attribute(node, "axis", 0) % len(shape)
    flat = to.reshape(to.take(x, identity(len(shape))), (math.prod(shape),), to.dtype(x))
    strides = [math.prod(shape[a + 1 :]) for a in range(len(shape))]
    grid = np.indices(out)
    rest = sum(grid[a] * strides[a] for a in range(len(shape)) if a != axis)
    known = to.constant(indices)
    if known is not None:
        places = to.ints(known % shape[axis] * strides[axis] + rest)
    else:
        inputs = [to.take(indices, identity(len(out))), to.ints([strides[axis]])]
        scaled = to.temporary("MUL", inputs, out, np.int32, schema.MulOptionsT())
        places = to.temporary("ADD", [scaled, to.ints(rest)], out, np.int32, schema.AddOptionsT())
    to.put(result, "GATHER", [flat, places], identity(len(out)), schema.GatherOptionsT())


@lowers("GatherND")
def gather_nd(to: Lowering, node: onnx.NodeProto) -> None:
    if attribute(node, "batch_dims", 0):
        raise to.cannot("TFLite's GATHER_ND has no batch dimensions")
    x, indices = node.input
    sizes = to.shape(x)[: to.shape(indices)[-1]]
    inputs = [to.take(x, identity(to.rank(x))), _indices(to, indices, np.asarray(sizes))]
    to.put(node.output[0], "GATHER_ND", inputs, identity(to.rank(node.output[0])))


@lowers("Pad")
def pad(to: Lowering, node: onnx.NodeProto) -> None:
    x, result = node.input[0], node.output[0]
    shape, order = to.shape(x), to.order(x)
    amounts = to.fixed(1, "padding").reshape(2, -1)
    axes = to.fixed(3, "axes") if len(node.input) > 3 and node.input[3] else range(len(shape))
    around = np.zeros((len(shape), 2), int)
    for axis, low, high in zip(axes, *amounts):
        around[axis] = low, high
    mode = attribute(node, "mode", b"constant").decode()
    if mode != "constant":
        if (around < 0).any():
            raise to.cannot(f"TFLite cannot both cut and pad in mode {mode}")
        _mirror(to, node, around, mode)
        return
    tensor, cut = to.take(x), np.maximum(-around, 0)
    if cut.any():  # less than nothing is cut away first
        left = np.asarray(shape) - cut.sum(1)
        inputs = [tensor, to.ints(cut[list(order), 0]), to.ints(left[list(order)])]
        if not (around > 0).any():
            to.put(result, "SLICE", inputs, order, schema.SliceOptionsT())
            return
        stored = left[list(order)].tolist()
        tensor = to.temporary("SLICE", inputs, stored, to.dtype(x), schema.SliceOptionsT())
    inputs = [tensor, to.ints(np.maximum(around, 0)[list(order)])]
    fill = to.fixed(2, "value") if len(node.input) > 2 and node.input[2] else np.zeros(1)
    if not fill.any():
        to.put(result, "PAD", inputs, order, schema.PadOptionsT())
        return
    value = to.writer.constant(fill.reshape(1).astype(to.dtype(x)))
    to.put(result, "PADV2", [*inputs, value], order, schema.PadV2OptionsT())


def _mirror(to: Lowering, node: onnx.NodeProto, around: Array, mode: Any) -> None:
    """Padding with values of the tensor itself: a gather for each axis that grows."""
    x, result = node.input[0], node.output[0]
    shape, order = list(to.shape(x)), to.order(x)
    tensor, grow = to.take(x), [a for a in range(len(shape)) if around[a].any()]
    for axis in grow:
        picks = to.ints(np.pad(np.arange(shape[axis]), around[axis], mode))
        options = schema.GatherOptionsT()
        options.axis = order.index(axis)
        shape[axis] += int(around[axis].sum())
        if axis == grow[-1]:
            to.put(result, "GATHER", [tensor, picks], order, options)
        else:
            stored = arrange(shape, order)
            tensor = to.temporary("GATHER", [tensor, picks], stored, to.dtype(x), options)
    if not grow:
        to.alias(result, tensor, order)


@lowers("Expand", "Tile")
def tile(to: Lowering, node: onnx.NodeProto) -> None:
    """Writes a Tile, or an Expand, which repeats axes of size one."""
    x, result = node.input[0], node.output[0]
    shape = to.shape(result)
    own = (1,) * (len(shape) - to.rank(x)) + to.shape(x)
    order = to.common_order([x], len(shape))
    tensor = to.broadcast(x, order)
    repeats = [o // i for o, i in zip(shape, own)]
    if shape == own:
        to.alias(result, tensor, order)
        return
    to.put(result, "TILE", [tensor, to.ints(arrange(repeats, order))], order)


@lowers("ScatterND")
def scatter_nd(to: Lowering, node: onnx.NodeProto) -> None:
    """An assignment to a part of a tensor, written as a choice between the old and the new values."""
    x, _, updates = node.input
    result, shape = node.output[0], to.shape(x)
    indices = to.fixed(1, "indices")
    if attribute(node, "reduction", b"none") != b"none":
        raise to.cannot("TFLite's SCATTER_ND starts from zeros, not from a tensor")
    old, new = math.prod(shape), math.prod(to.shape(updates))
    picks = np.arange(old).reshape(shape)
    where = tuple(np.moveaxis(indices, -1, 0))
    picks[where] = old + np.arange(new).reshape(to.shape(updates))
    parts = [
        to.reshape(to.take(v, identity(to.rank(v))), (size,), to.dtype(x)) for v, size in ((x, old), (updates, new))
    ]
    options = schema.ConcatenationOptionsT()
    both = to.temporary("CONCATENATION", parts, (old + new,), to.dtype(x), options)
    inputs = [both, to.ints(picks)]
    to.put(result, "GATHER", inputs, identity(len(shape)), schema.GatherOptionsT())


def axis_last(to: Lowering, name: str, axis: int) -> Order:
    """The order nearest to how a value lies that has `axis` at the end."""
    order = to.order(name)
    return last(order, axis % len(order))
