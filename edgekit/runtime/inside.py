"""What an engine tells of the operators that it runs a package with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Operator:
    """`milliseconds`: median over runs, None where the engine does not tell. `merged`: the engine
    computes it together with a neighbour, which has the time, or once for all when it loads."""

    name: str
    kind: str
    shape: tuple[int, ...] | None
    placed: str  # the part of the engine that runs it: XNNPACK, CPU, or a provider of ONNX Runtime
    partition: int
    milliseconds: float | None = None
    merged: bool = False


@dataclass(frozen=True)
class Inside:
    """What an engine tells of one package. `operators` in the order they run. `profiled_ms`: a whole
    run while being looked at; `outside_ms`: how much of a run lies in no operator (both medians over
    runs). `note`: what this engine cannot tell, and why."""

    library: str
    delegate: str | None  # what operators are handed to; None when the engine has no such thing
    operators: tuple[Operator, ...]
    partition_ms: tuple[float | None, ...]
    profiled_ms: float | None = None
    outside_ms: float | None = None
    note: str = ""
