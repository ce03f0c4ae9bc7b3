"""Arithmetic and activations compute in TFLite what they compute in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from tests.tflite import Build, Case, both, check, computed, floats, integers, one, random

IMAGE = (1, 4, 7, 6)
ROWS = (2, 5, 6)


def positive(kind: str, **attributes: Any) -> Build:
    return lambda e, x: e.op(kind, e.op("Add", e.op("Abs", x), e.const(0.1)), **attributes)


def compared(kind: str, *values: Any) -> Build:
    return lambda e, x: e.op("Cast", one(kind, *values)(e, x), to=TensorProto.FLOAT)


UNARY = {
    **{
        kind: Case(IMAGE, one(kind))
        for kind in (
            "Relu",
            "Sigmoid",
            "Tanh",
            "Exp",
            "Abs",
            "Neg",
            "Floor",
            "Ceil",
            "Round",
            "Sin",
            "Cos",
            "Sign",
            "HardSwish",
            "Elu",
            "LeakyRelu",
            "HardSigmoid",
            "Erf",
            "Identity",
        )
    },
    **{kind: Case(IMAGE, positive(kind)) for kind in ("Log", "Sqrt", "Reciprocal")},
    **{f"{kind} {scale}": Case(IMAGE, one(kind), scale) for kind in ("Softplus", "Mish") for scale in (1, 60)},
    **{f"Gelu {how}": Case(IMAGE, one("Gelu", approximate=how), opset=20) for how in ("none", "tanh")},
    "LeakyRelu slope": Case(IMAGE, one("LeakyRelu", alpha=0.3)),
    "HardSigmoid pytorch": Case(IMAGE, one("HardSigmoid", alpha=1 / 6), 4),
    "Elu alpha": Case(IMAGE, one("Elu", alpha=0.7)),
    "Not": Case(IMAGE, lambda e, x: e.op("Cast", e.op("Not", e.op("Greater", x, e.const(0.0))), to=1)),
    "Clip": Case(IMAGE, one("Clip", floats(-0.5), floats(0.7))),
    "Clip relu": Case(IMAGE, one("Clip", floats(0))),
    "Clip relu6": Case(IMAGE, one("Clip", floats(0), floats(6)), 9),
    "Clip unit": Case(IMAGE, one("Clip", floats(0), floats(1))),
    "Clip both": Case(IMAGE, one("Clip", floats(-1), floats(1))),
    "Clip low": Case(IMAGE, one("Clip", floats(0.5))),
    "Clip high": Case(IMAGE, one("Clip", None, floats(0.5))),
    "Clip open": Case(IMAGE, one("Clip")),
    "Clip computed": Case(IMAGE, lambda e, x: e.op("Clip", x, e.const(-0.5), e.op("ReduceMean", x, keepdims=0))),
    "Clip integers": Case(IMAGE, lambda e, x: e.op("Clip", integers(e, x), e.const(0, np.int64), e.const(2, np.int64))),
    "Clip integers, low": Case(IMAGE, lambda e, x: e.op("Clip", integers(e, x), e.const(0, np.int64))),
    "Cast to integers": Case(IMAGE, integers),
    "Cast to int32": Case(IMAGE, lambda e, x: integers(e, x, kind=TensorProto.INT32)),
    "Cast to double": Case(IMAGE, lambda e, x: e.op("Cast", x, to=TensorProto.DOUBLE)),
    "Cast to half and back": Case(
        IMAGE, lambda e, x: e.op("Cast", e.op("Cast", x, to=TensorProto.FLOAT16), to=TensorProto.FLOAT), tolerance=1e-3
    ),
    "Cast to bool and back": Case(
        IMAGE, lambda e, x: e.op("Cast", e.op("Cast", e.op("Floor", x), to=TensorProto.BOOL), to=TensorProto.FLOAT)
    ),
    "Cast bool to integers": Case(
        IMAGE, lambda e, x: e.op("Cast", e.op("Greater", x, e.const(0.0)), to=TensorProto.INT64)
    ),
}
CHANNELS = random(4, 1, 1)
BINARY = {
    **{
        f"{kind} {name}": Case(IMAGE, one(kind, value))
        for kind in ("Add", "Sub", "Mul", "Div", "Max", "Min", "PRelu")
        for name, value in {
            "scalar": floats(0.3),
            "one": floats([0.3]),
            "row": np.abs(random(6)) + 0.1,
            "channels": np.abs(CHANNELS) + 0.1,
            "map": np.abs(random(7, 6)) + 0.1,
            "whole": np.abs(random(1, 4, 7, 6)) + 0.1,
        }.items()
    },
    **{
        f"{kind} computed {name}": Case(IMAGE, lambda e, x, k=kind, s=shape: e.op(k, x, computed(e, x, *s)))
        for kind in ("Add", "Sub", "Mul", "Min")
        for name, shape in {
            "row": (6,),
            "channels": (4, 1, 1),
            "map": (7, 6),
            "one": (1,),
            "column": (1, 7, 1),
            "scalar": (),
        }.items()
    },
    "Sub from constant": Case(IMAGE, lambda e, x: e.op("Sub", e.const(CHANNELS), x)),
    "Div of constant": Case(IMAGE, lambda e, x: e.op("Div", e.const(1.5), e.op("Exp", x))),
    "Add larger constant": Case((1, 4, 1, 1), one("Add", random(2, 4, 3, 5))),
    "Add longer constant": Case((4, 5), one("Add", random(2, 3, 4, 1))),
    "Add longer single": Case((), one("Add", floats([[[1.5]]]))),
    "Add two orders": Case(
        IMAGE, lambda e, x: e.op("Add", x, e.transpose(e.op("Exp", e.transpose(x, 0, 1, 3, 2)), 0, 1, 3, 2))
    ),
    "Add then relu": Case(IMAGE, lambda e, x: e.op("Relu", e.op("Add", x, e.op("Neg", e.op("Floor", x))))),
    "Mul then relu6": Case(
        IMAGE, lambda e, x: e.op("Clip", e.op("Mul", x, e.const(CHANNELS)), e.const(0.0), e.const(6.0)), 9
    ),
    "Pow square": Case(IMAGE, one("Pow", floats(2))),
    "Pow root": Case(IMAGE, lambda e, x: e.op("Pow", e.op("Abs", x), e.const(0.5))),
    "Pow cube": Case(IMAGE, one("Pow", floats(3))),
    "Pow of integer": Case(IMAGE, one("Pow", np.asarray(2))),
    "Pow broadcast": Case(IMAGE, lambda e, x: e.op("Pow", e.op("Exp", x), e.const(CHANNELS))),
    "Pow of computed": Case(IMAGE, lambda e, x: e.op("Pow", e.const(2.0), x)),
    "Sum of three": Case(IMAGE, lambda e, x: e.op("Sum", x, e.op("Exp", x), e.const(CHANNELS))),
    "Max of three": Case(IMAGE, lambda e, x: e.op("Max", e.const(0.1), computed(e, x, 4, 1, 1), x)),
    "Max of one": Case(IMAGE, one("Max")),
    **{kind: Case(IMAGE, compared(kind, CHANNELS)) for kind in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual")},
    "Equal": Case(
        IMAGE, lambda e, x: e.op("Cast", e.op("Equal", integers(e, x), e.const(1, np.int64)), to=TensorProto.FLOAT)
    ),
    **{
        kind: Case(
            IMAGE,
            lambda e, x, k=kind: e.op(
                "Cast",
                e.op(k, e.op("Less", x, e.const(CHANNELS)), e.op("Greater", x, e.const(-0.5))),
                to=TensorProto.FLOAT,
            ),
        )
        for kind in ("And", "Or", "Xor")
    },
    "Where": Case(IMAGE, lambda e, x: e.op("Where", e.op("Less", x, e.const(0.0)), x, e.op("Exp", x))),
    "Where scalar": Case(IMAGE, lambda e, x: e.op("Where", e.op("Less", x, e.const(0.0)), e.const(0.0), x)),
    "Where broadcast": Case(
        IMAGE, lambda e, x: e.op("Where", e.op("Less", computed(e, x, 4, 1, 1), e.const(0.0)), x, e.const(random(6)))
    ),
    "Where constants": Case(
        IMAGE, lambda e, x: e.op("Where", e.op("Less", x, e.const(0.0)), e.const(1.0), e.const([2.0]))
    ),
    "Mod": Case(IMAGE, lambda e, x: e.op("Mod", integers(e, x), e.const(3, np.int64))),
    "integer arithmetic": Case(
        IMAGE,
        lambda e, x: [
            e.op(k, integers(e, x), e.const(2, np.int64)) for k in ("Add", "Sub", "Mul", "Div", "Max", "Min")
        ],
    ),
    "PRelu in rows": Case(ROWS, one("PRelu", random(6))),
    **{
        f"{kind} of rank {len(shape)} with {len(other)}": Case(
            shape, lambda e, x, k=kind, o=other: e.op(k, x, computed(e, x, *o))
        )
        for kind in ("Add", "Sub", "Mul", "Max")
        for shape, other in [
            ((1, 3, 2, 4, 5), (3, 1, 4, 1)),
            ((1, 3, 4, 4, 2), (1, 3, 1, 1, 2)),
            ((1, 3, 2, 4, 5, 2), (1, 3, 2, 4, 5, 2)),
            ((1, 3, 2, 4, 5, 2), (3, 1, 4, 1, 2)),
            ((1, 3, 2, 1, 4, 2), (1, 3, 1, 2, 4, 1)),
            ((3, 2, 3, 2, 3, 2), (1, 2, 1, 2, 1, 2)),
        ]
    },
    **{
        f"{kind} of rank 5 and constant": Case((1, 3, 2, 4, 5), one(kind, random(3, 1, 4, 1)))
        for kind in ("Div", "Min", "PRelu")
    },
    "Greater of rank 5": Case((1, 3, 2, 4, 5), compared("Greater", random(3, 1, 4, 1))),
    "Pow of rank 5": Case((1, 3, 2, 4, 5), lambda e, x: e.op("Pow", e.op("Abs", x), e.const(random(3, 1, 4, 1)))),
    "Where of rank 6": Case(
        (1, 3, 2, 4, 5, 2), lambda e, x: e.op("Where", e.op("Less", x, e.const(0.0)), computed(e, x, 3, 1, 4, 1, 2), x)
    ),
    "Where of rank 5": Case(
        (1, 3, 2, 4, 5),
        lambda e, x: e.op("Where", e.op("Less", computed(e, x, 4, 1), e.const(0.0)), x, e.const([[1.5]])),
    ),
    **{
        f"{name} of rank 6": Case((1, 3, 2, 4, 5, 2), build, tolerance=1e-4)
        for name, build in {
            "Softmax": one("Softmax", axis=2),
            "ReduceMean": one("ReduceMean", np.asarray([3]), keepdims=0),
            "ReduceMax": one("ReduceMax", np.asarray([2, 5])),
            "Relu": one("Relu"),
            "Sigmoid": one("Sigmoid"),
            "Clip": one("Clip", floats(0.1)),
            "Gather": one("Gather", np.asarray([1, 0]), axis=5),
            "ArgMax": one("ArgMax", axis=3),
            "Softplus": one("Softplus"),
            "TopK": lambda e, x: e.ops("TopK", x, e.ints(1), outputs=2),
            "Concat": lambda e, x: e.op("Concat", x, x, axis=4),
            "Split": lambda e, x: e.ops("Split", x, outputs=2, axis=3, num_outputs=2),
            "MatMul": one("MatMul", random(2, 3)),
            "LayerNormalization": one("LayerNormalization", random(2)),
            "Gather one": one("Gather", np.asarray(1), axis=3),
            "CumSum": one("CumSum", np.asarray([3])),
            "scalar": one("Mul", floats(3)),
        }.items()
    },
}


@both({**UNARY, **BINARY})
def test_elements(case: Case, after_conv: bool) -> None:
    check(case, after_conv)
