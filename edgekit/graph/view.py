"""A read view of an ONNX graph and an editor that appends to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

Array: TypeAlias = np.ndarray[Any, Any]


class GraphView:
    """Producers, constants and inferred shapes of a graph, by tensor name. Does not change it."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
        graph = inferred.graph
        self.shapes: dict[str, tuple[int, ...] | None] = {}
        self.types: dict[str, int] = {}
        for value in (*graph.value_info, *graph.input, *graph.output):
            tensor = value.type.tensor_type
            self.types[value.name] = tensor.elem_type
            self.shapes[value.name] = shape_of(value)
        self.constants = {t.name: t for t in graph.initializer}
        for name, constant in self.constants.items():
            self.shapes[name] = tuple(constant.dims)
        self.producers = {o: n for n in model.graph.node for o in n.output if o}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        self.inputs = [v.name for v in model.graph.input if v.name not in self.constants]
        self.outputs = [v.name for v in model.graph.output]

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; -1 where a dimension is not known."""
        return self.shapes.get(name) or ()

    def array(self, name: str) -> Array | None:
        constant = self.constants.get(name)
        return None if constant is None else numpy_helper.to_array(constant)


def shape_of(value: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    """The shape in a value's type; -1 where a dimension is open, None where the rank is."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


@dataclass
class Editor:
    """Appends nodes to the end of a graph. Tensor names it makes start with `edgekit/`."""

    model: onnx.ModelProto
    count: int = 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        return self.ops(kind, *inputs, outputs=outputs, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int = 1, **attributes: object) -> list[str]:
        names = []
        for _ in range(outputs):
            self.count += 1
            names.append(f"edgekit/{kind.lower()}_{self.count}")
        node = helper.make_node(kind, list(inputs), names, name=names[0], **attributes)
        self.model.graph.node.append(node)
        return names

    def const(self, value: ArrayLike, dtype: type = np.float32) -> str:
        self.count += 1
        name = f"edgekit/const_{self.count}"
        array: Array = np.ascontiguousarray(np.asarray(value, dtype))
        self.model.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(values, np.int64)

    def slice(self, x: str, axis: int, start: int, end: int) -> str:
        return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis))

    def transpose(self, x: str, *perm: int) -> str:
        return self.op("Transpose", x, perm=list(perm))

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.ints(*shape))

    def set_outputs(self, outputs: Sequence[tuple[str, str, Sequence[int]]]) -> None:
        """Make (tensor, public name, shape) the graph's only outputs, all float32."""
        graph = self.model.graph
        public = {name for _, name, _ in outputs}
        for node in graph.node:  # a tensor of the source may carry one of these names already
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = f"edgekit/was_{name}" if name in public else name
        for tensor in graph.initializer:  # what was folded to a constant
            if tensor.name in public:
                tensor.name = f"edgekit/was_{tensor.name}"
        outputs = [(f"edgekit/was_{t}" if t in public else t, n, s) for t, n, s in outputs]
        del graph.output[:]
        del graph.value_info[:]
        for tensor, name, shape in outputs:
            # a Cast of float32 to itself is folded away later
            node = helper.make_node("Cast", [tensor], [name], to=TensorProto.FLOAT)
            graph.node.append(node)
            dims = [d if d >= 0 else "detections" for d in shape]
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
