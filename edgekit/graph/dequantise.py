"""Pass: a graph that was already quantised, taken back to float.

Requires: weights and scales are constants. Ensures: no integer arithmetic is left; weights are what the integers
stand for, exactly; activations are no longer rounded, but end where they ended. edgekit quantises floats: what was
rounded once before would be rounded twice, and counted as nothing.

Tensors keep their names, and hold the numbers that their integers stood for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import SourceError
from edgekit.graph.view import GraphView, attribute

Array = np.ndarray[Any, Any]

_DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger")
_QDQ = ("QuantizeLinear", "DequantizeLinear")
_PLAIN = {
    "QLinearAdd": "Add",
    "QLinearMul": "Mul",
    "QLinearSigmoid": "Sigmoid",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearAveragePool": "AveragePool",
    "QLinearConcat": "Concat",
    "QLinearSoftmax": "Softmax",
}
_WEIGHTED = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul"}
WAS_QUANTISED = "the source was already quantised"  # how the note begins
_NEXT = "convert the float model that it was made from"


def kind_of(model: onnx.ModelProto) -> str:
    """How a graph is quantised, in words; "" where it is not."""
    kinds = {n.op_type for n in model.graph.node}
    forms = []
    if any(k.startswith(("QLinear", "QGemm")) for k in kinds):
        forms.append("QOperator")
    if kinds & set(_DYNAMIC):
        forms.append("dynamic")
    if "DequantizeLinear" in kinds and "QOperator" not in forms:
        forms.append("QDQ" if "QuantizeLinear" in kinds else "weights only")
    return ", ".join(forms)


def dequantise(model: onnx.ModelProto, name: str) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The float graph, and a note on what it was. Raises SourceError for what has no exact form in float."""
    kind = kind_of(model)
    if not kind:
        return model, ()
    back = _Back(model, name)
    result = back.run()
    return result, (
        f"{WAS_QUANTISED} ({kind}): its weights were taken back to float exactly and its activations "
        "are no longer rounded; everything is compared with that, not with the float model it was made from",
    )


@dataclass
class _Back:
    model: onnx.ModelProto
    name: str
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)

    def run(self) -> onnx.ModelProto:
        self.view = GraphView(self.model)
        self.values = {n: numpy_helper.to_array(t) for n, t in self.view.constants.items()}
        for node in self.model.graph.node:
            if node.op_type == "Constant":
                value = attribute(node, "value")
                if value is not None:
                    self.values[node.output[0]] = numpy_helper.to_array(value)
        for node in self.model.graph.node:
            self._one(node)
        result = onnx.ModelProto()
        result.CopyFrom(self.model)
        del result.graph.node[:]
        result.graph.node.extend(self.nodes)
        del result.graph.value_info[:]
        used = {i for n in self.nodes for i in n.input} | {o.name for o in result.graph.output}
        initializers = [t for t in result.graph.initializer if t.name in used and t.name not in self.constants]
        del result.graph.initializer[:]
        result.graph.initializer.extend(initializers)
        for key, array in self.constants.items():
            result.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), key))
        for output in result.graph.output:
            if output.type.tensor_type.elem_type in (TensorProto.INT8, TensorProto.UINT8):
                output.type.tensor_type.elem_type = TensorProto.FLOAT
        left = kind_of(result)
        if left:
            self._refuse(f"operators of {left} quantisation are left")
        return result

    def _one(self, node: onnx.NodeProto) -> None:
        kind = node.op_type
        steps: dict[str, Callable[[onnx.NodeProto], None]] = {
            "DequantizeLinear": self._dequantize,
            "QuantizeLinear": self._quantize,
            "DynamicQuantizeLinear": self._dynamic,
            "ConvInteger": self._integer,
            "MatMulInteger": self._integer,
            **dict.fromkeys(_WEIGHTED, self._weighted),
            **dict.fromkeys(_PLAIN, self._plain),
        }
        if kind in steps:
            steps[kind](node)
        elif kind.startswith(("QLinear", "QGemm", "QAttention", "MatMulNBits")):
            self._refuse(f"it has {kind}, of which edgekit knows no float form")
        else:
            self.nodes.append(node)

    def _dequantize(self, node: onnx.NodeProto) -> None:
        value, (scale, zero) = node.input[0], self._scale(node, 1)
        if value in self.values:
            self._constant(node.output[0], self._real(self.values[value], scale, zero, attribute(node, "axis", 1)))
        else:  # what quantised it ended its range already
            self._add("Identity", [value], node.output[0])

    def _quantize(self, node: onnx.NodeProto) -> None:
        scale, zero = self._scale(node, 1)
        self._clip(node.input[0], node.output[0], scale, zero)

    def _dynamic(self, node: onnx.NodeProto) -> None:
        """Replaces dynamic quantisation, whose range is that of the values: nothing is clipped, and the scale
        becomes one."""
        value, scale, zero = node.output
        self._add("Identity", [node.input[0]], value)
        self._constant(scale, np.array(1, np.float32))
        self._constant(zero, np.array(0, np.float32))

    def _integer(self, node: onnx.NodeProto) -> None:
        if node.input[1] not in self.values:
            self._refuse(f"the weights of {node.name or node.op_type} are computed")
        weights = self.values[node.input[1]].astype(np.float32)
        zero = self.values.get(node.input[3]) if len(node.input) > 3 and node.input[3] else None
        if zero is not None:
            axis = 0 if node.op_type == "ConvInteger" else weights.ndim - 1
            weights = weights - _along(zero.astype(np.float32), weights, axis)
        weight = self._constant(f"{node.input[1]}/real", weights)
        self._copy("Conv" if node.op_type == "ConvInteger" else "MatMul", [node.input[0], weight], node)

    def _weighted(self, node: onnx.NodeProto) -> None:
        if node.input[3] not in self.values:
            self._refuse(f"the weights of {node.name or node.op_type} are computed")
        (scale, zero), conv = self._scale(node, 4), node.op_type == "QLinearConv"
        weights = self.values[node.input[3]]
        inputs = [
            node.input[0],
            self._constant(
                f"{node.input[3]}/{node.input[4]}", self._real(weights, scale, zero, 0 if conv else weights.ndim - 1)
            ),
        ]
        if conv and len(node.input) > 8 and node.input[8]:
            before, _ = self._scale(node, 1)
            bias = self.values[node.input[8]].astype(np.float64) * before * scale
            inputs.append(self._constant(f"{node.input[8]}/{node.input[1]}", bias.astype(np.float32)))
        self._copy(_WEIGHTED[node.op_type], inputs, node, f"{node.output[0]}/open")
        self._clip(f"{node.output[0]}/open", node.output[0], *self._scale(node, 6))

    def _plain(self, node: onnx.NodeProto) -> None:
        kind = node.op_type
        if kind == "QLinearConcat":
            values, ends = list(node.input[2::3]), self._scale(node, 0)
            values = [self._value(v, self._scale(node, 3 + 3 * i)) for i, v in enumerate(values)]
        elif kind in ("QLinearAdd", "QLinearMul"):
            values = [self._value(node.input[i], self._scale(node, i + 1)) for i in (0, 3)]
            ends = self._scale(node, 6)
        else:
            values, ends = [node.input[0]], self._scale(node, 3)
        self._copy(_PLAIN[kind], values, node, f"{node.output[0]}/open")
        self._clip(f"{node.output[0]}/open", node.output[0], *ends)

    def _value(self, name: str, scale: tuple[Array, Array]) -> str:
        if name not in self.values:
            return name
        return self._constant(f"{name}/real", self._real(self.values[name], *scale, 0))

    def _scale(self, node: onnx.NodeProto, at: int) -> tuple[Array, Array]:
        """(scale, zero point) among a node's inputs, in float64 and as it is stored."""
        if node.input[at] not in self.values:
            self._refuse(f"the scale of {node.name or node.op_type} is computed")
        scale = self.values[node.input[at]].astype(np.float64)
        name = node.input[at + 1] if len(node.input) > at + 1 else ""
        if name and name not in self.values:
            self._refuse(f"the zero point of {node.name or node.op_type} is computed")
        return scale, self.values[name] if name else np.zeros(scale.shape, np.uint8)

    def _real(self, values: Array, scale: Array, zero: Array, axis: int) -> Array:
        if scale.size > 1 and (scale.ndim != 1 or values.ndim == 0 or values.shape[axis] != scale.size):
            self._refuse("its weights have a scale for each block")
        whole = values.astype(np.float64) - _along(zero.astype(np.float64), values, axis)
        return np.asarray(whole * _along(scale, values, axis)).astype(np.float32)

    def _clip(self, value: str, output: str, scale: Array, zero: Array) -> None:
        """Clips to the range that the integers had, since exporters rely on it for the upper end of a Relu."""
        if scale.size != 1 or zero.dtype.kind not in "iu":
            self._refuse(f"{value} has a scale for each channel, or eight-bit floats")
        ends = np.iinfo(zero.dtype)
        low, high = ((end - float(zero.ravel()[0])) * float(scale.ravel()[0]) for end in (ends.min, ends.max))
        names = [self._constant(f"{output}/{n}", np.array(v, np.float32)) for n, v in (("low", low), ("high", high))]
        self._add("Clip", [value, *names], output)

    def _constant(self, name: str, array: Array) -> str:
        self.constants[name] = np.asarray(array, np.float32)
        return name

    def _add(self, kind: str, inputs: list[str], output: str) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}/{kind}"))

    def _copy(self, kind: str, inputs: list[str], node: onnx.NodeProto, output: str = "") -> None:
        copy = helper.make_node(kind, inputs, [output or node.output[0]], name=node.name)
        own = ("channels_last", "opset")  # of ONNX Runtime's operators
        if attribute(node, "channels_last", 0):
            self._refuse(f"{node.name or node.op_type} has its channels last")
        copy.attribute.extend(a for a in node.attribute if a.name not in own)
        self.nodes.append(copy)

    def _refuse(self, why: str) -> None:
        raise SourceError(f"{self.name} was already quantised, and cannot be taken back to float", why, _NEXT)


def _along(values: Array, like: Array, axis: int) -> Array:
    """Shapes one number, or one for each place along an axis, so that it can be combined with `like`."""
    if values.size == 1:
        return values.reshape(())
    shape = [1] * like.ndim
    shape[axis] = values.size
    return values.reshape(shape)
