"""The graph of fixed sizes while it is being written, and what the attention in it needs from outside."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from onnx import helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.graph.view import Editor
from edgekit.runtime.engine import Array


@dataclass(frozen=True)
class Rotation:
    """A tensor and the tables of cosines and sines that rotate its heads."""

    tensor: str
    cos: str
    sin: str


@dataclass
class Lowering(Editor):
    """The graph that is written. `constants`: those of the source; `windows`, `tables`, `layers`: inputs that its
    attention needs; `residuals`: tensors that sum up all layers before them."""

    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    step: int = 1
    context: int = 1
    head: int = 1  # values in a head
    rotated: dict[str, Rotation] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)  # of mask inputs; 0: none
    tables: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    layers: dict[int, int] = field(default_factory=dict)  # and how many heads of keys they have
    residuals: list[str] = field(default_factory=list)
    half: int = 1  # columns in the tables

    def named(self, kind: str, output: str, *inputs: str, **attributes: object) -> None:
        """Writes a node whose result is a tensor of the source, under its name."""
        self.model.graph.node.append(helper.make_node(kind, list(inputs), [output], output, **attributes))

    def array(self, name: str) -> Array | None:
        """The value of a constant of the source."""
        return numpy_helper.to_array(self.constants[name]) if name in self.constants else None

    def mask(self, window: int) -> str:
        """The name of the mask input: of a window of the latest tokens, or of all tokens."""
        window = 0 if window >= self.context else max(window, 0)
        name = f"mask_{window}" if window else "mask"
        self.windows[name] = window
        return name

    def table(self, cos: str, sin: str) -> tuple[str, str]:
        """The names of the inputs that hold rows of these tables."""
        end = f"_{len(self.tables)}" if self.tables else ""
        return self.tables.setdefault((cos, sin), (f"cos{end}", f"sin{end}"))


def refused(node: onnx.NodeProto, why: str) -> ConversionError:
    return ConversionError(
        f"{node.name or node.op_type} ({node.op_type}) cannot be written for fixed sizes",
        why,
        "convert the model for -t cpu",
    )
