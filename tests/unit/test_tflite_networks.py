"""Whole graphs as TFLite: transformers, heads, what leaves the graph, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional

from edgekit.errors import ConversionError, SourceError
from edgekit.graph.clean import clean
from edgekit.graph.simplify import simplify
from edgekit.graph.softmax_axis import softmax_on_last_axis
from edgekit.graph.view import Editor
from edgekit.sources.export import export
from tests.tflite import Build, Case, agree, check, graph, litert, lower, one, random


class Encoder(nn.Module):
    """Patches, self-attention as torch writes it, a feed-forward part."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 24, 16))
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.feed = nn.Sequential(nn.Linear(16, 32), act, nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        y = self.norms[0](x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.feed(self.norms[1](x))


class Decoder(nn.Module):
    """Queries picked by score, and multi-scale deformable attention as RT-DETR writes it."""

    def __init__(self, heads: int = 2, points: int = 3, channels: int = 8) -> None:
        super().__init__()
        self.heads, self.points = heads, points
        self.maps = nn.ModuleList([nn.Conv2d(3, channels, 4, 4), nn.Conv2d(3, channels, 8, 8)])
        self.score, self.box = nn.Linear(channels, 5), nn.Linear(channels, 4)
        self.offsets = nn.Linear(channels, heads * 2 * points * 2)
        self.weights = nn.Linear(channels, heads * 2 * points)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = [m(x) for m in self.maps]
        memory = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], 1)
        best = torch.topk(self.score(memory).max(-1).values, 6, dim=1).indices
        query = memory.gather(1, best.unsqueeze(-1).repeat(1, 1, memory.shape[-1]))
        boxes = self.box(query).sigmoid()
        count, queries, channels = query.shape
        shape = (count, queries, self.heads, 2, self.points)
        offsets = self.offsets(query).reshape(*shape, 2)
        places = boxes[:, :, None, None, None, :2] + offsets * boxes[:, :, None, None, None, 2:] * 0.5
        weights = self.weights(query).reshape(*shape[:3], -1).softmax(-1)
        values = memory.reshape(count, -1, self.heads, channels // self.heads)
        parts, start = [], 0
        for level, one_map in enumerate(maps):
            height, width = one_map.shape[2:]
            value = values[:, start : start + height * width].flatten(2).transpose(1, 2)
            start += height * width
            value = value.reshape(count * self.heads, -1, height, width)
            grid = (2 * places - 1)[:, :, :, level].transpose(1, 2).flatten(0, 1)
            parts.append(functional.grid_sample(value, grid, align_corners=False))
        weights = weights.transpose(1, 2).reshape(count * self.heads, 1, queries, -1)
        mixed = (torch.stack(parts, -2).flatten(-2) * weights).sum(-1)
        query = self.norm(query + mixed.view(count, channels, queries).transpose(1, 2))
        return self.box(query).sigmoid(), self.score(query)


class Windows(nn.Module):
    """Attention inside shifted windows, after Swin; ConvNeXt's block; squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.group = nn.LayerNorm(8), nn.GroupNorm(2, 8)
        self.qkv, self.wide, self.narrow = nn.Linear(8, 24), nn.Linear(8, 16), nn.Linear(16, 8)
        self.squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.group(self.stem(x))
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        x = x + self.narrow(functional.gelu(self.wide(y))).permute(0, 3, 1, 2)
        x = x * self.squeeze(x)
        y = torch.roll(x.permute(0, 2, 3, 1), (-2, -2), (1, 2))
        y = y.reshape(1, 2, 4, 3, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(6, 16, 8)
        q, k, v = self.qkv(y).reshape(6, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = ((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v
        y = y.transpose(1, 2).reshape(1, 2, 3, 4, 4, 8).permute(0, 1, 3, 2, 4, 5).reshape(1, 8, 12, 8)
        return x + torch.roll(y, (2, 2), (1, 2)).permute(0, 3, 1, 2)


def exported(network: nn.Module) -> onnx.ModelProto:
    torch.manual_seed(0)
    model = export(network, (torch.zeros(1, 3, 16, 24),), "network")
    return clean(simplify(softmax_on_last_axis(simplify(model, "network")), "network"))


@pytest.mark.parametrize(
    "make",
    [lambda: Encoder(nn.GELU()), lambda: Encoder(nn.GELU("tanh")), Decoder, Windows],
    ids=["encoder", "encoder with tanh", "deformable decoder", "windows"],
)
def test_transformers(make: Any) -> None:
    model = exported(make())
    agree(model, [model.graph.input[0].name], tolerance=2e-4)


def head(e: Editor, x: str) -> list[str]:
    """Three scales, distributions over 16 bins, boxes from anchors: YOLOv8, v9 and v11 end so."""
    maps = []
    for step in (1, 2, 4):
        y = e.op("Conv", x, e.const(random(68, 4, 3, 3, seed=step)), strides=[step] * 2, pads=[1] * 4)
        maps.append(e.reshape(y, 1, 68, -1))
    cells = e.op("Concat", *maps, axis=2)
    bins, scores = e.ops("Split", cells, e.ints(64, 4), outputs=2, axis=1)
    bins = e.transpose(e.reshape(bins, 1, 4, 16, -1), 0, 3, 1, 2)
    sides = e.op("MatMul", e.op("Softmax", bins, axis=-1), e.const(np.arange(16)))
    low, high = e.ops("Split", sides, e.ints(2, 2), outputs=2, axis=-1)
    anchors = e.const(random(1, 84, 2))
    corners = [e.op("Sub", anchors, low), e.op("Add", anchors, high)]
    return [e.op("Concat", *corners, axis=-1), e.op("Sigmoid", scores)]


def shuffle(e: Editor, x: str) -> str:
    pairs = e.transpose(e.reshape(x, 1, 2, 2, 6, 8), 0, 2, 1, 3, 4)
    return e.op("Conv", e.reshape(pairs, 1, 4, 6, 8), e.const(random(4, 4, 1, 1)))


def test_a_head_is_transposed_once_at_its_end() -> None:
    found = check(Case((1, 4, 8, 8), head, tolerance=1e-4), True)
    assert found["TRANSPOSE"] == 1, found  # the scores, which leave as (1, C, N)
    assert found["FULLY_CONNECTED"] == found["SOFTMAX"] == 1


def test_values_that_lie_right_are_not_transposed() -> None:
    shape = (1, 4, 6, 8)
    assert check(Case(shape, shuffle), True)["TRANSPOSE"] == 2  # the groups, and the output
    pooled: Build = lambda e, x: e.op("Flatten", e.op("GlobalAveragePool", x))  # noqa: E731
    assert check(Case(shape, pooled), True)["TRANSPOSE"] == 0
    tokens: Build = lambda e, x: e.transpose(e.reshape(x, 1, 4, 48), 0, 2, 1)  # noqa: E731
    assert check(Case(shape, tokens), True)["TRANSPOSE"] == 0
    keys: Build = lambda e, x: e.op("MatMul", x, e.transpose(e.op("Exp", x), 0, 2, 1))  # noqa: E731
    assert check(Case((1, 5, 6), keys, scale=1), False)["TRANSPOSE"] == 0


OUTPUTS: dict[str, Build] = {
    "an input": lambda e, x: ["x", e.op("Exp", x)],
    "an input's other name": lambda e, x: [e.op("Identity", "x"), e.op("Exp", x)],
    "an input, turned": lambda e, x: [e.transpose("x", 0, 2, 3, 1), e.transpose("x", 0, 1, 3, 2)],
    "one value twice": lambda e, x: [x, e.op("Identity", x), e.op("Identity", x)] if x != "x" else [e.op("Exp", x)],
    "one value in two orders": lambda e, x: [y := e.op("Exp", x), e.transpose(y, 0, 2, 3, 1)],
    "one value in two orders, other first": lambda e, x: [e.transpose(y := e.op("Exp", x), 0, 2, 3, 1), y],
    "a constant": lambda e, x: [e.const(random(2, 3)), e.op("Exp", x)],
    "a constant's other name": lambda e, x: [e.op("Identity", e.const(random(2, 3))), e.op("Exp", x)],
    "a constant, turned": lambda e, x: [e.transpose(e.const(random(2, 3)), 1, 0), e.op("Exp", x)],
    "a constant scalar": lambda e, x: [e.op("Identity", e.const(3.0)), e.op("Exp", x)],
    "constant integers": lambda e, x: [e.op("Identity", e.ints(3, 4)), e.op("Exp", x)],
    "read further inside": lambda e, x: [y := e.op("Relu", x), e.op("Exp", y), e.op("GlobalMaxPool", y)],
    "a conv before its relu": lambda e, x: [y := one("Conv", random(4, 4, 1, 1))(e, x), e.op("Relu", y)],  # type: ignore[list-item]
    "integers": lambda e, x: [e.op("ArgMax", x, axis=1)],
    "a truth": lambda e, x: [e.op("Less", x, e.const(0.0))],
}


@pytest.mark.parametrize("after_conv", [False, True])
@pytest.mark.parametrize("build", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_outputs(build: Build, after_conv: bool) -> None:
    check(Case((1, 4, 6, 8), build), after_conv)


REFUSED: dict[str, tuple[tuple[int, ...], Build, str]] = {
    "no operator": ((3, 3), lambda e, x: e.op("Det", x), "no such operator"),
    "5-D convolution": ((1, 2, 4, 4, 4), one("Conv", random(2, 2, 3, 3, 3)), "4-D"),
    "3-D convolution": ((1, 2, 4), one("Conv", random(2, 2, 3)), "4-D"),
    "computed weights": (
        (1, 2, 4, 4),
        lambda e, x: e.op("Conv", x, e.reshape(e.op("Exp", x), 4, 2, 2, 2)),
        "weight is computed",
    ),
    "dilated pool": ((1, 2, 9, 9), one("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]), "dilation"),
    "cubic resize": ((1, 2, 4, 4), one("Resize", None, np.float32([1, 1, 2, 2]), mode="cubic"), "cubic"),
    "batch grows": ((1, 2, 4, 4), one("Resize", None, np.float32([2, 1, 2, 2])), "height and width"),
    "smooth resize": (
        (1, 2, 4, 4),
        one("Resize", None, np.float32([1, 1, 0.5, 0.5]), mode="linear", antialias=1),
        "smooth",
    ),
    "cropping resize": (
        (1, 2, 4, 4),
        one(
            "Resize",
            np.float32([0, 0, 0, 0, 1, 1, 1, 1]),
            np.float32([1, 1, 2, 2]),
            coordinate_transformation_mode="tf_crop_and_resize",
        ),
        "tf_crop_and_resize",
    ),
    "remainder": ((2, 3), one("Mod", np.float32(0.7), fmod=1), "sign"),
    "last of equals": ((2, 3), one("ArgMax", select_last_index=1), "first of equal"),
    "batched GatherND": ((2, 3), one("GatherND", np.asarray([[0], [1]]), batch_dims=1), "batch"),
    "computed repeats": (
        (2, 3),
        lambda e, x: e.op("Slice", x, e.op("Cast", e.slice(e.reshape(x, 6), 0, 0, 1), to=7), e.ints(2)),
        "start is computed",
    ),
    "cubic sample": ((1, 2, 4, 4), one("GridSample", random(1, 3, 3, 2), mode="bicubic"), "bicubic"),
    "long integers": ((2, 3), lambda e, x: e.op("Cast", x, to=TensorProto.UINT32), "uint32"),
}


@pytest.mark.parametrize(("shape", "build", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_names_the_node(shape: tuple[int, ...], build: Build, why: str) -> None:
    model = graph(Case(shape, build, opset=16 if "bicubic" in why else 18))
    node = model.graph.node[-1]
    with pytest.raises(ConversionError, match=why) as caught:
        lower(model, names={node.name: "/head/last"})
    assert caught.value.what == f"The node /head/last ({node.op_type}) cannot be written as TFLite"
    assert caught.value.next


def test_inputs_that_tflite_packages_do_not_take() -> None:
    def model(kind: int, *shape: Any) -> onnx.ModelProto:
        made = graph(Case((1, 4, 6, 8), one("Relu")))
        made.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", kind, shape))
        made.graph.node[0].input[0] = "image"
        return made

    with pytest.raises(SourceError, match="The input image is int64"):
        lower(model(TensorProto.INT64, 1, 4, 6, 8))
    with pytest.raises(ConversionError, match="shape of image is not fixed") as caught:
        lower(model(TensorProto.FLOAT, "batch", 4, 6, 8))
    assert "--image-size" in caught.value.next
    assert caught.value.what == "The model cannot be written as TFLite"


def test_nodes_need_no_names() -> None:
    model = graph(Case((1, 4, 6, 8), lambda e, x: e.op("Exp", e.op("Relu", one("Conv", random(4, 4, 1, 1))(e, x)))))
    for node in model.graph.node:
        node.name = ""
    assert agree(model)["CONV_2D"] == 1


def test_weights_in_half_precision_become_single() -> None:
    def build(e: Editor, x: str) -> str:
        y = e.op("MatMul", e.op("Cast", x, to=TensorProto.FLOAT16), e.const(random(6, 4), np.float16))
        return e.op("Cast", e.op("Add", y, e.const(random(4), np.float16)), to=TensorProto.FLOAT)

    check(Case((5, 6), build, tolerance=1e-2))


def test_the_same_graph_gives_the_same_bytes() -> None:
    model = graph(Case((1, 4, 8, 8), head), True)
    first = lower(model, ["x"]).data
    assert first == lower(model, ["x"]).data
    assert litert(first, {"x": np.zeros((1, 8, 8, 3), np.float32)})
