"""Matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import Order, arrange, identity
from edgekit.tflite.operators.pointwise import fused
from edgekit.tflite.operators.shaping import axis_last
from edgekit.tflite.state import Array, Lowering, lowers

_LONGEST_PRODUCT = 5  # dimensions


@lowers("MatMul")
def matmul(to: Lowering, node: onnx.NodeProto) -> None:
    (a, b), result = node.input[:2], node.output[0]
    weight = to.constant(b)
    if weight is not None and weight.ndim < 3 and to.rank(a) > 1 and to.constant(a) is None:
        outputs = weight.reshape(len(weight), -1).T
        order = axis_last(to, a, -1)
        _fully_connected(to, node, a, order, outputs, np.zeros(len(outputs)), weight.ndim == 1)
        return
    shapes = [to.shape(a), to.shape(b)]
    left = to.take(a, identity(len(shapes[0])))
    if len(shapes[0]) == 1:  # ONNX has no axis for the one row or column of a vector
        left = to.reshape(left, (1, *shapes[0]), to.dtype(a))
    if len(shapes[1]) == 1:
        right, swapped = to.reshape(to.take(b), (1, *shapes[1]), to.dtype(b)), True
    else:
        right, swapped = _either_way(to, b)
    options = schema.BatchMatMulOptionsT()
    options.adjY = swapped
    whole, out = _matrices(shapes), to.shape(result)
    if len(whole) > _LONGEST_PRODUCT:
        if shapes[0][:-2] != shapes[1][:-2]:
            raise to.cannot(f"TFLite broadcasts products of at most {_LONGEST_PRODUCT} dimensions")
        count = math.prod(whole[:-2])
        inner = arrange(shapes[1][-2:], (1, 0) if swapped else (0, 1))
        left = to.reshape(left, (count, *shapes[0][-2:]))
        right = to.reshape(right, (count, *inner))
        whole = (count, *whole[-2:])
    if whole == out:
        to.put(result, "BATCH_MATMUL", [left, right], identity(len(out)), options)
        return
    tensor = to.temporary("BATCH_MATMUL", [left, right], whole, to.dtype(result), options)
    to.alias(result, to.reshape(tensor, out, to.dtype(result)), identity(len(out)))


def _either_way(to: Lowering, name: str) -> tuple[int, bool]:
    """The second matrix as it is stored, and whether it is stored transposed, as the keys of attention are."""
    straight = identity(to.rank(name))
    swapped = (*straight[:-2], straight[-1], straight[-2])
    if to.order(name) in (straight, swapped):
        return to.take(name), to.order(name) == swapped
    # it moves anyway: rows stay together in memory when the last axis is the one that lies last
    turned = to.order(name)[-1] == straight[-2]
    return to.take(name, swapped if turned else straight), turned


def _matrices(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What TFLite's product of two tensors has for a shape, where vectors count as matrices."""
    a = shapes[0] if len(shapes[0]) > 1 else (1, *shapes[0])
    b = shapes[1] if len(shapes[1]) > 1 else (*shapes[1], 1)
    return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])


@lowers("Gemm")
def gemm(to: Lowering, node: onnx.NodeProto) -> None:
    (a, b), result = node.input[:2], node.output[0]
    alpha, beta = attribute(node, "alpha", 1.0), attribute(node, "beta", 1.0)
    order = (1, 0) if attribute(node, "transA", 0) else (0, 1)
    out, weight = to.shape(result), to.constant(b)
    addend = node.input[2] if len(node.input) > 2 else ""
    bias = to.constant(addend) if addend else np.zeros(1, np.float32)
    if weight is not None and bias is not None and (bias.ndim < 2 or len(bias) == 1):
        weight = weight if attribute(node, "transB", 0) else weight.T
        bias = np.broadcast_to(bias * beta, (1, out[1]))[0]
        _fully_connected(to, node, a, order, weight * alpha, bias)
        return
    options = schema.BatchMatMulOptionsT()
    inputs = [to.take(a, order), to.take(b, (1, 0) if attribute(node, "transB", 0) else (0, 1))]
    tensor = to.temporary("BATCH_MATMUL", inputs, out, options=options)
    inputs = [tensor, to.floats([[alpha]])]
    if not addend:
        to.put(result, "MUL", inputs, (0, 1), schema.MulOptionsT())
        return
    if alpha != 1:
        tensor = to.temporary("MUL", inputs, out, options=schema.MulOptionsT())
    shift = to.broadcast(addend, (0, 1))
    if beta != 1:
        more = (1,) * (2 - to.rank(addend)) + to.shape(addend)
        shift = to.temporary("MUL", [shift, to.floats([[beta]])], more, options=schema.MulOptionsT())
    to.put(result, "ADD", [tensor, shift], (0, 1), schema.AddOptionsT())


@lowers("Einsum")
def einsum(to: Lowering, node: onnx.NodeProto) -> None:
    """Two values whose shared letters are all batches or all summed: a product of matrices."""
    equation = attribute(node, "equation").decode().replace(" ", "")
    sides, _, out = equation.partition("->")
    terms = sides.split(",")
    if len(terms) != 2 or not out or "." in equation or any(len(set(t)) < len(t) for t in (*terms, out)):
        raise to.cannot(f"edgekit writes no {equation} as a product of matrices")
    a, b = terms
    batch = [c for c in a if c in b and c in out]
    summed = [c for c in a if c in b and c not in out]
    own = [[c for c in t if c not in batch + summed] for t in (a, b)]
    if set(out) != {*batch, *own[0], *own[1]}:
        raise to.cannot(f"edgekit writes no {equation} as a product of matrices")
    sizes = {c: d for t, name in zip(terms, node.input) for c, d in zip(t, to.shape(name))}
    inputs = []
    for term, name, groups in ((a, 0, (batch, own[0], summed)), (b, 1, (batch, summed, own[1]))):
        order = tuple(term.index(c) for group in groups for c in group)
        flat = [math.prod(sizes[c] for c in group) for group in groups]
        inputs.append(to.reshape(to.take(node.input[name], order), flat))
    count, rows, columns = (math.prod(sizes[c] for c in group) for group in (batch, *own))
    options = schema.BatchMatMulOptionsT()
    tensor = to.temporary("BATCH_MATMUL", inputs, (count, rows, columns), options=options)
    lies = [*batch, *own[0], *own[1]]
    tensor = to.reshape(tensor, [sizes[c] for c in lies])
    to.alias(node.output[0], tensor, tuple(out.index(c) for c in lies))


def _fully_connected(
    to: Lowering, node: onnx.NodeProto, x: str, order: Order, weight: Array, bias: Array, vector: bool = False
) -> None:
    """`weight`: outputs × inputs. The contracted axis lies last, wherever the others are.

    `vector`: ONNX has no axis for the single output.
    """
    options = schema.FullyConnectedOptionsT()
    options.keepNumDims = True
    inputs = [to.take(x, order), to.floats(weight), to.floats(bias)]
    if vector:
        shape = arrange(to.shape(node.output[0]), order[:-1])
        tensor = to.temporary("FULLY_CONNECTED", inputs, (*shape, 1), options=options)
        to.alias(node.output[0], to.reshape(tensor, shape), order[:-1])
        return
    # only Gemm contracts another axis than the last, and its result lies straight
    after = order if order[-1] == len(order) - 1 else identity(len(order))
    to.put(fused(to, node, options), "FULLY_CONNECTED", inputs, after, options)
