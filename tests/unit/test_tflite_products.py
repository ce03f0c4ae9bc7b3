"""Reductions, normalisations and products compute in TFLite what they compute in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import ConversionError
from edgekit.graph.view import Editor
from tests.tflite import Build, Case, both, check, computed, floats, graph, integers, lower, one, random

IMAGE = (1, 4, 7, 6)
ROWS = (2, 5, 6)


def reduced(kind: str, axes: list[int] | None, keep: int = 1, start: str = "") -> Build:
    """Axes as an input (opset 18), of `start` applied to the value."""

    def build(e: Editor, x: str) -> str:
        x = e.op(start, x) if start else x
        return e.op(kind, x, *([] if axes is None else [e.ints(*axes)]), keepdims=keep)

    return build


REDUCTIONS = {
    **{
        f"{kind} {axes} {keep}": Case(IMAGE, reduced(kind, axes, keep), tolerance=1e-4)
        for kind in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2")
        for axes in ([1], [2, 3], [-1], [0, 2], None)
        for keep in (0, 1)
    },
    **{
        f"{kind} others": Case(IMAGE, reduced(kind, [1, 3]), tolerance=1e-4)
        for kind in ("ReduceProd", "ReduceL1", "ReduceSumSquare")
    },
    "ReduceMean attribute": Case(IMAGE, one("ReduceMean", axes=[2, 3], keepdims=0), opset=17),
    "ReduceSum nothing": Case(IMAGE, one("ReduceSum", noop_with_empty_axes=1)),
    **{
        f"{kind} {axis}": Case(IMAGE, one(kind, axis=axis))
        for kind in ("Softmax", "LogSoftmax")
        for axis in (1, 2, 3, -1)
    },
    **{
        f"{kind} {axis} {keep}": Case(IMAGE, one(kind, axis=axis, keepdims=keep))
        for kind in ("ArgMax", "ArgMin")
        for axis in (1, 2, -1)
        for keep in (0, 1)
    },
    **{
        f"TopK {axis} {largest}": Case(
            IMAGE, lambda e, x, a=axis, w=largest: e.ops("TopK", x, e.ints(3), outputs=2, axis=a, largest=w)
        )
        for axis in (1, 2, -1)
        for largest in (0, 1)
    },
    "TopK values only": Case(ROWS, lambda e, x: e.op("TopK", x, e.ints(2), outputs=2)),
    "TopK indices only": Case(ROWS, lambda e, x: e.ops("TopK", x, e.ints(2), outputs=2)[1]),
    "TopK of integers": Case(
        ROWS,
        lambda e, x: e.ops("TopK", integers(e, e.op("CumSum", e.op("Exp", x), e.ints(2)), 0, 99), e.ints(2), outputs=2)[
            0
        ],
    ),
    **{
        f"CumSum {axis} {options}": Case(IMAGE, one("CumSum", np.asarray(axis), **options))
        for axis in (1, -1)
        for options in ({}, {"exclusive": 1}, {"reverse": 1})
    },
    "LayerNormalization": Case(ROWS, one("LayerNormalization", random(6), random(6, seed=2)), tolerance=1e-4),
    "LayerNormalization no bias": Case(ROWS, one("LayerNormalization", random(6)), tolerance=1e-4),
    "LayerNormalization 2 axes": Case(
        IMAGE, one("LayerNormalization", random(7, 6), random(7, 6), axis=2, epsilon=0.1), tolerance=1e-4
    ),
    "LayerNormalization row": Case(IMAGE, one("LayerNormalization", random(6), random(6), axis=-1), tolerance=1e-4),
    "RMSNormalization": Case(ROWS, one("RMSNormalization", random(6)), opset=23, tolerance=1e-4),
    "RMSNormalization 2 axes": Case(
        IMAGE, one("RMSNormalization", random(7, 6), axis=2, epsilon=0.1), opset=23, tolerance=1e-4
    ),
    "InstanceNormalization": Case(IMAGE, one("InstanceNormalization", random(4), random(4, seed=2)), tolerance=1e-4),
    "InstanceNormalization 3-D": Case(
        (2, 4, 9), one("InstanceNormalization", random(4), random(4, seed=2)), tolerance=1e-4
    ),
    "BatchNormalization": Case(
        IMAGE, one("BatchNormalization", random(4), random(4), random(4), np.abs(random(4)) + 0.5)
    ),
    "BatchNormalization 2-D": Case(
        (3, 4), one("BatchNormalization", random(4), random(4), random(4), np.abs(random(4)) + 0.5)
    ),
    "LpNormalization": Case(IMAGE, one("LpNormalization", axis=1, p=2)),
}


def product(*shape: int, swap: bool = False) -> Build:
    """x times a computed matrix; `swap`: times its transpose, as attention writes it."""

    def build(e: Editor, x: str) -> str:
        y = computed(e, x, *shape)
        if swap:
            y = e.transpose(y, *range(len(shape) - 2), len(shape) - 1, len(shape) - 2)
        return e.op("MatMul", x, y)

    return build


PRODUCTS = {
    "vector": Case(ROWS, one("MatMul", random(6))),
    "vector 4-D": Case(IMAGE, one("MatMul", random(6))),
    "matrix": Case(ROWS, one("MatMul", random(6, 3)), tolerance=1e-4),
    "matrix 2-D": Case((5, 6), one("MatMul", random(6, 3)), tolerance=1e-4),
    "matrix 4-D": Case(IMAGE, one("MatMul", random(6, 3)), tolerance=1e-4),
    "matrix, relu": Case(ROWS, lambda e, x: e.op("Relu", one("MatMul", random(6, 3))(e, x))),
    "matrix of channels": Case(IMAGE, lambda e, x: e.op("MatMul", e.transpose(x, 0, 2, 3, 1), e.const(random(4, 5)))),
    "constants batched": Case(ROWS, one("MatMul", random(2, 6, 3)), tolerance=1e-4),
    "constant first": Case(ROWS, lambda e, x: e.op("MatMul", e.const(random(4, 5)), x), tolerance=1e-4),
    "constant vector first": Case(ROWS, lambda e, x: e.op("MatMul", e.const(random(5)), x)),
    "computed": Case(ROWS, product(2, 6, 5), tolerance=1e-4),
    "computed, swapped": Case(ROWS, product(2, 4, 6, swap=True), tolerance=1e-4),
    "computed 4-D": Case(IMAGE, product(1, 4, 6, 7), tolerance=1e-4),
    "computed 4-D, swapped": Case(IMAGE, product(1, 4, 3, 6, swap=True), tolerance=1e-4),
    "computed broadcast": Case(IMAGE, product(6, 3), tolerance=1e-4),
    "computed broadcast, swapped": Case(IMAGE, product(4, 2, 6, swap=True), tolerance=1e-4),
    "computed vectors": Case((6,), product(6)),
    "computed vector": Case(ROWS, product(6)),
    "of rank 5": Case((1, 2, 3, 4, 5), product(1, 2, 3, 5, 2), tolerance=1e-4),
    "of rank 6": Case((1, 2, 3, 2, 4, 5), product(1, 2, 3, 2, 5, 2), tolerance=1e-4),
    "Gemm": Case((3, 6), one("Gemm", random(6, 5), random(5)), tolerance=1e-4),
    "Gemm transposed": Case((3, 6), one("Gemm", random(5, 6), random(1, 5), transB=1), tolerance=1e-4),
    "Gemm scaled": Case((3, 6), one("Gemm", random(6, 5), random(5), alpha=0.5, beta=2.0), tolerance=1e-4),
    "Gemm no bias": Case((3, 6), one("Gemm", random(6, 5)), tolerance=1e-4),
    "Gemm one bias": Case((3, 6), one("Gemm", random(6, 5), floats(2)), tolerance=1e-4),
    "Gemm transposed first": Case((6, 3), one("Gemm", random(6, 5), transA=1), tolerance=1e-4),
    "Gemm rows of bias": Case((3, 6), one("Gemm", random(6, 5), random(3, 1)), tolerance=1e-4),
    "Gemm, relu": Case((3, 6), lambda e, x: e.op("Relu", one("Gemm", random(6, 5))(e, x)), tolerance=1e-4),
    "Gemm computed": Case(
        (3, 6), lambda e, x: e.op("Gemm", x, computed(e, x, 2, 6), computed(e, x, 2), transB=1), tolerance=1e-4
    ),
}


EINSUMS = {
    equation: Case(
        shape, lambda e, x, q=equation, o=other: e.op("Einsum", x, computed(e, x, *o), equation=q), tolerance=1e-4
    )
    for equation, shape, other in [
        ("bchw,bkc->bkhw", IMAGE, (1, 3, 4)),
        ("bnc,bmc->bnm", ROWS, (2, 3, 6)),
        ("bnc,cd->bnd", ROWS, (6, 2)),
        ("bmchw,bnmc->bmhwn", (1, 2, 3, 4, 5), (1, 2, 2, 3)),
        ("i,j->ij", (5,), (3,)),
        ("bij,bij->bj", ROWS, (2, 5, 6)),
        ("bnc, bc -> nb", ROWS, (2, 6)),
    ]
}


@pytest.mark.parametrize("equation", ["bnc,bmc", "b...,b...->b...", "bnc,bmd->bm", "bnn,bnn->bn"])
def test_what_is_no_product_of_matrices_is_refused(equation: str) -> None:
    case = Case((2, 5, 5), lambda e, x: e.op("Einsum", x, computed(e, x, 2, 5, 5), equation=equation))
    with pytest.raises(ConversionError, match="einsum"):
        lower(graph(case))


@both(REDUCTIONS)
def test_reductions(case: Case, after_conv: bool) -> None:
    check(case, after_conv)


@both({**PRODUCTS, **EINSUMS})
def test_products(case: Case, after_conv: bool) -> None:
    check(case, after_conv)
