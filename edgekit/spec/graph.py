"""Models that are one graph of tensors: what an engine needs to know of them, whatever their task."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgekit.spec.values import TensorSpec


@runtime_checkable
class GraphSpec(Protocol):
    """A spec with the tensors of its graph. Engines of graphs run every task whose spec has these two."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...


def graph_of(spec: object) -> GraphSpec | None:
    """The spec as that of a graph; None where its task describes its model in another way."""
    return spec if isinstance(spec, GraphSpec) else None
