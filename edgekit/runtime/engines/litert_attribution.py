"""Whose time it is: events of LiteRT's profiler brought together with the operators of the file.

The interpreter tells the node that each of its own kernels ran for. XNNPACK tells names of its own
operators ("Convolution (NHWC, F32) IGEMM"), in the order of the nodes they were made from, with some
nodes missing (two computed at once, padding that a convolution does itself, weights unpacked when
loading) and sometimes a conversion added in front. So the two lists are aligned, as `diff` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np

from edgekit.runtime.inside import Operator

# Kinds in the file, words in XNNPACK's names. A kind that is not here is looked for by its own name.
_FAMILIES = {
    "product": (
        "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV FULLY_CONNECTED BATCH_MATMUL",
        ("convolution", "fully connected", "matrix"),
    ),
    "pool": ("AVERAGE_POOL_2D MAX_POOL_2D MEAN SUM REDUCE_MAX REDUCE_MIN", ("pooling", "reduce", "mean", "sum")),
    "move": (
        "CONCATENATION SPLIT RESHAPE EXPAND_DIMS SQUEEZE SLICE STRIDED_SLICE PACK UNPACK BROADCAST_TO",
        ("copy", "reshape", "slice", "concat", "split", "expand"),
    ),
    "resize": ("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR", ("resize",)),
    "transpose": ("TRANSPOSE SPACE_TO_DEPTH DEPTH_TO_SPACE", ("transpose", "space", "depth")),
    "pad": ("PAD PADV2 MIRROR_PAD", ("pad",)),
    "softmax": ("SOFTMAX LOG_SOFTMAX", ("softmax",)),
    "multiply": ("MUL", ("multiply",)),
    "subtract": ("SUB", ("subtract",)),
    "squared": ("SQUARED_DIFFERENCE", ("squared",)),
    "add": ("ADD", ("add ",)),
    "divide": ("DIV", ("divide",)),
    "minimum": ("MINIMUM", ("minimum",)),
    "maximum": ("MAXIMUM", ("maximum",)),
    "power": ("POW", ("pow",)),
    "convert": ("QUANTIZE DEQUANTIZE CAST", ("convert",)),
    "unary": (
        "LOGISTIC TANH RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU PRELU ELU GELU HARD_SWISH EXP LOG"
        " ABS NEG SQRT RSQRT SQUARE FLOOR CEIL ROUND SIN COS SIGN",
        (
            "unary",
            "sigmoid",
            "tanh",
            "clamp",
            "elu",
            "swish",
            "exp",
            "log",
            "abs",
            "neg",
            "sqrt",
            "square",
            "floor",
            "ceil",
            "round",
            "sin",
            "sign",
        ),
    ),
}
_OF_KIND = {kind: family for family, (kinds, _) in _FAMILIES.items() for kind in kinds.split()}
_LARGEST = 25_000_000  # cells of a table to align two lists: about a second


@dataclass(frozen=True)
class Event:
    """`node`: of the file when `own`, else XNNPACK's count within its partition. Median, ms."""

    name: str
    own: bool  # the interpreter's, not XNNPACK's
    node: int
    milliseconds: float


def attribute(
    operators: Sequence[Operator], nodes: Sequence[int], events: Sequence[Event]
) -> tuple[tuple[Operator, ...], float] | None:
    """The operators with their times, and the milliseconds that belong to none of them; None when
    the events are of operators placed otherwise. `nodes`: each operator's index in the file."""
    own = {e.node: e.milliseconds for e in events if e.own}
    delegated = [i for i, o in enumerate(operators) if o.placed != "CPU"]
    if own.keys() != {nodes[i] for i, o in enumerate(operators) if o.placed == "CPU"}:
        return None
    timed = [replace(o, milliseconds=own[nodes[i]]) if o.placed == "CPU" else o for i, o in enumerate(operators)]
    parts = [list(g) for _, g in groupby(delegated, key=lambda i: operators[i].partition)]
    groups: list[list[Event]] = []
    for event in (e for e in events if not e.own):
        if event.node == 0:
            groups.append([])
        groups[-1].append(event)
    if len(parts) != len(groups):  # a partition with nothing left to do tells nothing
        parts, groups = [delegated], [[e for group in groups for e in group]]
    lost = 0.0
    for part, group in zip(parts, groups):
        times, more = align([operators[i].kind for i in part], group)
        lost += more
        if all(t is None for t in times):  # nothing is known, rather than that nothing took time
            continue
        for i, taken in zip(part, times):
            timed[i] = replace(operators[i], milliseconds=taken or 0.0, merged=taken is None)
    return tuple(timed), lost


def align(kinds: Sequence[str], events: Sequence[Event]) -> tuple[list[float | None], float]:
    """Milliseconds for each kind in a list, None where no event is its own; and what is left over."""
    names: list[str] = []
    spent: list[float] = []
    for event in events:
        # XNNPACK turns activations into bytes for the product that follows: part of its cost
        if names and names[-1].startswith("Convert") and "QD" in names[-1]:
            names[-1], spent[-1] = event.name, spent[-1] + event.milliseconds
        else:
            names.append(event.name)
            spent.append(event.milliseconds)
    times: list[float | None] = [None] * len(kinds)
    if len(kinds) * len(names) > _LARGEST:
        return times, sum(spent)
    pairs = [(-1, -1), *_matches(kinds, names), (len(kinds), len(names))]
    lost = 0.0
    for (kind, name), (next_kind, next_name) in pairwise(pairs):
        free, more = range(kind + 1, next_kind), range(name + 1, next_name)
        if len(free) == len(more):
            for i, j in zip(free, more):
                times[i] = spent[j]
        elif not free and kind >= 0:  # an activation that the operator before it brings along
            times[kind] = (times[kind] or 0.0) + sum(spent[j] for j in more)
        else:
            lost += sum(spent[j] for j in more)
        if next_kind < len(kinds):
            times[next_kind] = spent[next_name]
    return times, lost


def _matches(kinds: Sequence[str], names: Sequence[str]) -> list[tuple[int, int]]:
    """The longest common subsequence of two lists, by family, as pairs of positions."""
    families = np.array([_OF_KIND.get(k, k.lower()) for k in kinds], object)
    have = np.array([_family(n) for n in names], object)
    best = np.zeros((len(families) + 1, len(have) + 1), np.int32)
    for i, family in enumerate(families):
        longer = np.maximum(best[i, 1:], best[i, :-1] + (have == family))
        best[i + 1, 1:] = np.maximum.accumulate(longer)
    pairs, i, j = [], len(families), len(have)
    while i and j:
        if best[i, j] == best[i - 1, j]:
            i -= 1
        elif best[i, j] == best[i, j - 1]:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((i, j))
    return pairs[::-1]


def _family(name: str) -> str:
    text = name.lower()
    for family, (_, words) in _FAMILIES.items():
        if any(word in text for word in words):
            return family
    return text.partition(" (")[0].replace(" ", "_")
