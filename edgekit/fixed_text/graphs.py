"""From the graph of onnxruntime-genai's builder to graphs of fixed sizes.

`decoder` makes a graph of fixed sizes that reads `step` tokens: one to read prompts, one for each
token that follows. What it takes and gives is float32:

    hidden       (1, step, width)              the tokens' rows of the embedding
    cos, sin     (1, 1, step, half a head)     for the positions of these tokens
    mask         (1, 1, step, context)         0 where a token sees another, else very negative;
                                               mask_W where only the latest W are seen
    past_key_i   (groups, 1, head, context - step)
    past_value_i (groups, 1, context - step, head)
    key_i        (groups, 1, head, step)       of these tokens, the last in `context`
    value_i      (groups, 1, step, head)
    logits       (1, 1, vocabulary)            after the last of them

`host` makes the graph for a processor beside: `input_ids` and `position_ids`, (1, step) each, to `hidden`,
`cos` and `sin`. It looks up rows of tables. An NPU has no operator for that where they are quantised, and
would hold them in floating point. `whole` is both in one graph.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import ConversionError
from edgekit.fixed_text.lowering import lower
from edgekit.fixed_text.state import Lowering
from edgekit.graph.view import attribute

_OPSETS = (("", 23), ("com.microsoft", 1))  # 23 is the first with RMSNormalization
_NORMS = ("SimplifiedLayerNormalization", "LayerNormalization")
Shapes = dict[str, tuple[int | str, ...]]


@dataclass(frozen=True)
class Decoder:
    """`shapes`: of whatever goes in and out. `residuals`: tensors in which all that came before is
    summed up. `tables`: names in the source of cosines and sines, and those they come in by."""

    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, onnx.TensorProto]
    shapes: Shapes
    residuals: tuple[str, ...]
    tables: dict[tuple[str, str], tuple[str, str]]

    @property
    def vocabulary(self) -> int:
        return int(self.shapes["logits"][2])

    def parts(self, limit: float = float("inf")) -> Iterator[onnx.ModelProto]:
        """The graph in parts of up to `limit` bytes of weights, where it can be cut so finely. Each
        takes as `hidden` what the one before gave as `hidden_out`."""
        whole = self._bytes(0, len(self.nodes)) <= limit
        ends = [0, *([] if whole else self._cuts(limit)), len(self.nodes)]
        shapes = {**self.shapes, "hidden_out": self.shapes["hidden"]}
        entering = "hidden"
        for start, end in itertools.pairwise(ends):
            leaving = self.nodes[end - 1].output[0] if end < len(self.nodes) else ""
            names = {entering: "hidden", **({leaving: "hidden_out"} if leaving else {})}
            nodes = [_renamed(n, names) for n in self.nodes[start:end]]
            yield _model(nodes, shapes, self.constants)
            entering = leaving

    def _cuts(self, limit: float) -> list[int]:
        """Positions between nodes: the last before each part would become too large."""
        cuts, start, candidate = list[int](), 0, 0
        for index, node in enumerate(self.nodes):
            if self._bytes(start, index + 1) > limit and candidate > start:
                cuts.append(candidate)
                start = candidate
            if node.output[0] in self.residuals and self._alone(node.output[0], start, index + 1):
                candidate = index + 1
        return cuts

    def _bytes(self, start: int, end: int) -> int:
        read = {n for node in self.nodes[start:end] for n in node.input}
        return sum(self.constants[n].ByteSize() for n in read if n in self.constants)

    def _alone(self, name: str, start: int, end: int) -> bool:
        """Whether nothing else that these nodes make is read after them."""
        results = {o for n in self.nodes[start:end] for o in n.output} - {name}
        return not any(results & set(n.input) for n in self.nodes[end:])


def decoder(source: onnx.ModelProto, head: int, step: int, context: int) -> Decoder:
    """`head`: how many values a head has. Raises ConversionError for what has no plain form."""
    hidden, width = _embedded(source.graph)
    constants = _constants(source.graph)
    low = Lowering(onnx.ModelProto(), 0, constants, step, context, head)
    inside = {hidden}
    for node in source.graph.node:
        if node.output[0] != hidden and inside & set(node.input):
            lower(low, _renamed(node, {hidden: "hidden"}))
            inside |= set(node.output) - {""}
    shapes: Shapes = {"hidden": (1, step, width)}
    for cos, sin in low.tables.values():
        shapes[cos] = shapes[sin] = (1, 1, step, low.half)
    shapes |= dict.fromkeys(low.windows, (1, 1, step, context))
    for i, groups in low.layers.items():
        shapes[f"past_key_{i}"] = (groups, 1, head, context - step)
        shapes[f"past_value_{i}"] = (groups, 1, context - step, head)
        shapes[f"key_{i}"], shapes[f"value_{i}"] = (groups, 1, head, step), (groups, 1, step, head)
    vocabulary = source.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    shapes["logits"] = (1, 1, vocabulary)
    constants |= {t.name: t for t in low.model.graph.initializer}
    nodes = _alive(low.model.graph.node, set(shapes))
    known = {*constants, *shapes, *(o for n in nodes for o in n.output), ""}
    foreign = sorted({i for n in nodes for i in n.input} - known)
    if foreign:
        raise ConversionError(
            "This network needs more than its tokens",
            f"a layer reads {', '.join(foreign[:3])}",
            "convert it for -t cpu",
        )
    return Decoder(tuple(nodes), constants, shapes, tuple(low.residuals), low.tables)


def host(
    source: onnx.ModelProto, tables: dict[tuple[str, str], tuple[str, str]], context: int, half: bool
) -> onnx.ModelProto:
    """`tables`: as the decoder names them. `half`: keep the embedding in 16 bits."""
    nodes, shapes, constants = _lookups(source, tables, context, half)
    width = _embedded(source.graph)[1]
    return _model(nodes, {**_ids_of("step"), "hidden": (1, "step", width), **shapes}, constants)


def whole(source: onnx.ModelProto, head: int, step: int, context: int) -> onnx.ModelProto:
    """From ids and positions to logits: the lookup and the decoder in one."""
    body = decoder(source, head, step, context)
    nodes, inner, constants = _lookups(source, body.tables, context, False)
    ports = {n: s for n, s in body.shapes.items() if n != "hidden" and n not in inner}
    return _model([*nodes, *body.nodes], {**_ids_of(step), **ports}, {**body.constants, **constants})


def _ids_of(step: int | str) -> Shapes:
    return {"input_ids": (1, step), "position_ids": (1, step)}


def _lookups(
    source: onnx.ModelProto, tables: dict[tuple[str, str], tuple[str, str]], context: int, half: bool
) -> tuple[list[onnx.NodeProto], Shapes, dict[str, onnx.TensorProto]]:
    """Nodes from ids to `hidden`, from positions to rows of `tables`, whose shapes come with them."""
    graph, constants = source.graph, _constants(source.graph)
    hidden, _ = _embedded(graph)
    nodes = _folded(_alive(graph.node, {hidden}), constants)
    if half:
        nodes = list(_halved(nodes, constants))
    nodes = [_renamed(n, {hidden: "hidden"}) for n in nodes]
    constants["axis"] = numpy_helper.from_array(np.array([1], np.int64), "axis")
    shapes: Shapes = {}
    for pair, names in tables.items():
        for table, name in zip(pair, names):
            rows = numpy_helper.to_array(constants[table])[:context]
            constants[table] = numpy_helper.from_array(np.ascontiguousarray(rows, np.float32), table)
            nodes.append(helper.make_node("Gather", [table, "position_ids"], [f"{name}/rows"], f"{name}/rows"))
            nodes.append(helper.make_node("Unsqueeze", [f"{name}/rows", "axis"], [name], name))
            shapes[name] = (1, 1, "step", rows.shape[1])
    return nodes, shapes, constants


def _embedded(graph: onnx.GraphProto) -> tuple[str, int]:
    """The tensor in which tokens have become vectors, and how long those are: the first to be
    normalised."""
    inside = {"input_ids"}
    dims = {t.name: t.dims for t in graph.initializer}
    for node in graph.node:
        if not inside & set(node.input):
            continue
        if node.op_type in _NORMS and node.input[1] in dims:
            return node.input[0], int(dims[node.input[1]][0])
        inside |= set(node.output)
    raise ConversionError(
        "This network does not begin with an embedding and a normalisation",
        "so it cannot be cut between them",
        "convert it for -t cpu",
    )


def _constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Weights and the values of Constant nodes, by name."""
    constants = {t.name: t for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            value = onnx.TensorProto()
            value.CopyFrom(attribute(node, "value"))
            value.name = node.output[0]
            constants[value.name] = value
    return constants


def _alive(nodes: Iterable[onnx.NodeProto], names: set[str]) -> list[onnx.NodeProto]:
    """The nodes that the tensors `names` depend on."""
    needed, alive = set(names), []
    for node in reversed(list(nodes)):
        if node.op_type != "Constant" and needed & set(node.output):
            alive.append(node)
            needed |= set(node.input)
    return alive[::-1]


def _renamed(node: onnx.NodeProto, names: dict[str, str]) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.ClearField("doc_string")
    for side in (copy.input, copy.output):
        for i, name in enumerate(side):
            side[i] = names.get(name, name)
    return copy


def _folded(nodes: Sequence[onnx.NodeProto], constants: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """A table that the head has the other way round is turned once, here."""
    left = []
    for node in nodes:
        if node.op_type == "Transpose" and node.input[0] in constants:
            turned = np.ascontiguousarray(numpy_helper.to_array(constants[node.input[0]]).T)
            constants[node.output[0]] = numpy_helper.from_array(turned, node.output[0])
        else:
            left.append(node)
    return left


def _halved(nodes: Iterable[onnx.NodeProto], constants: dict[str, onnx.TensorProto]) -> Iterator[onnx.NodeProto]:
    """Tables in float16, as an NPU has its numbers anyway; what is read from them becomes float32."""
    for node in nodes:
        table = constants.get(node.input[0])
        if node.op_type != "Gather" or table is None or table.data_type != TensorProto.FLOAT:
            yield node
            continue
        half = numpy_helper.to_array(table).astype(np.float16)
        constants[table.name] = numpy_helper.from_array(half, table.name)
        read = f"{node.output[0]}/half"
        yield _renamed(node, {node.output[0]: read})
        yield helper.make_node("Cast", [read], [node.output[0]], node.output[0], to=TensorProto.FLOAT)


def _model(nodes: Sequence[onnx.NodeProto], shapes: Shapes, constants: dict[str, onnx.TensorProto]) -> onnx.ModelProto:
    """A model of `nodes`, whose inputs and outputs are those of `shapes` that they read and make."""
    results = {o for n in nodes for o in n.output}
    read = {i for n in nodes for i in n.input} - results
    ports = [
        [helper.make_tensor_value_info(n, _ids(n), s) for n, s in shapes.items() if n in names]
        for names in (read, results)
    ]
    graph = helper.make_graph(nodes, "edgekit", *ports)
    graph.initializer.extend(constants[n] for n in constants if n in read)
    domains = {n.domain for n in nodes}
    opsets = [helper.make_opsetid(d, v) for d, v in _OPSETS if d in domains or not d]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="edgekit")


def _ids(name: str) -> int:
    return int(TensorProto.INT64 if name.endswith("_ids") else TensorProto.FLOAT)
