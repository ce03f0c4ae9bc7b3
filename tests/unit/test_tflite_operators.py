"""Operators over pixels compute in TFLite what they compute in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.graph.view import Editor
from tests.tflite import Build, Case, both, check, floats, one, random

IMAGE = (1, 4, 7, 6)


def conv(
    outputs: int = 8,
    size: tuple[int, int] = (3, 3),
    bias: bool = True,
    after: Build | None = None,
    channels: int = 4,
    **attributes: Any,
) -> Build:
    def build(e: Editor, x: str) -> Any:
        weight = random(outputs, channels // attributes.get("group", 1), *size)
        inputs = [x, e.const(weight), *([e.const(random(outputs, seed=2))] if bias else [])]
        y = e.op("Conv", *inputs, **attributes)
        return after(e, y) if after else y

    return build


def deconv(size: tuple[int, int], channels: int = 4, outputs: int = 6, **attributes: Any) -> Build:
    group = attributes.get("group", 1)
    weight = random(channels, outputs // group, *size)
    return lambda e, x: e.op("ConvTranspose", x, e.const(weight), e.const(random(outputs)), **attributes)


CONVOLUTIONS = {
    "plain": Case(IMAGE, conv()),
    "no bias": Case(IMAGE, conv(bias=False, pads=[1, 1, 1, 1])),
    "pointwise": Case(IMAGE, conv(size=(1, 1))),
    "stride 2 pad 1": Case((1, 4, 7, 7), conv(strides=[2, 2], pads=[1] * 4)),
    "stride 2 pad 1 even": Case((1, 4, 8, 6), conv(strides=[2, 2], pads=[1] * 4)),
    "stride 2 pad 1 mixed": Case((1, 4, 8, 7), conv(strides=[2, 2], pads=[1] * 4)),
    "strides differ": Case(IMAGE, conv(size=(3, 1), strides=[1, 2], pads=[1, 0, 1, 0])),
    "asymmetric pads": Case(IMAGE, conv(pads=[0, 1, 2, 0])),
    "even kernel": Case(IMAGE, conv(size=(6, 6), strides=[2, 2], pads=[2] * 4)),
    "dilation": Case((1, 4, 9, 9), conv(dilations=[2, 2], pads=[2] * 4)),
    "dilation without pads": Case((1, 4, 9, 9), conv(dilations=[2, 1])),
    "same upper": Case(IMAGE, conv(auto_pad="SAME_UPPER", strides=[2, 2])),
    "same lower": Case(IMAGE, conv(auto_pad="SAME_LOWER", strides=[2, 2])),
    "valid": Case(IMAGE, conv(auto_pad="VALID")),
    "groups": Case(IMAGE, conv(group=2, pads=[1] * 4)),
    "groups, dilated": Case((1, 4, 9, 9), conv(group=2, dilations=[2, 2])),
    "depthwise": Case(IMAGE, conv(4, group=4, pads=[1] * 4)),
    "depthwise multiplier": Case(IMAGE, conv(12, group=4, strides=[2, 2])),
    "depthwise dilation": Case((1, 4, 9, 9), conv(4, group=4, dilations=[2, 2], pads=[2] * 4)),
    "one channel": Case((1, 1, 5, 5), conv(channels=1)),
    "batch of two": Case((2, 4, 5, 5), conv(pads=[1] * 4)),
    "relu": Case(IMAGE, conv(after=one("Relu"))),
    "relu6": Case(IMAGE, conv(after=one("Clip", floats(0), floats(6)), bias=False), 9.0),
    "clipped": Case(IMAGE, conv(after=one("Clip", floats(-0.5), floats(0.5)))),
    "relu read twice": Case(IMAGE, conv(after=lambda e, y: [e.op("Relu", y), e.op("Neg", y)])),
    "relu and output": Case(IMAGE, conv(after=lambda e, y: [e.op("Relu", y), y])),
}
TRANSPOSED = {
    "kernel is stride": Case(IMAGE, deconv((2, 2), strides=[2, 2])),
    "pads": Case(IMAGE, deconv((4, 4), strides=[2, 2], pads=[1] * 4)),
    "asymmetric": Case(IMAGE, deconv((3, 4), strides=[2, 2], pads=[0, 1, 1, 2])),
    "output padding": Case(IMAGE, deconv((3, 3), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1])),
    "stride above kernel": Case(IMAGE, deconv((1, 2), strides=[2, 3])),
    "stride 1": Case(IMAGE, deconv((3, 3), pads=[1] * 4)),
    "same upper": Case(IMAGE, deconv((3, 3), strides=[2, 2], auto_pad="SAME_UPPER")),
    "output shape": Case(IMAGE, deconv((4, 4), strides=[2, 2], output_shape=[13, 12])),
    "depthwise": Case(IMAGE, deconv((4, 4), outputs=4, strides=[2, 2], pads=[1] * 4, group=4)),
    "groups": Case(IMAGE, deconv((3, 4), strides=[1, 2], pads=[0, 1, 1, 2], group=2)),
    "groups, cropped": Case(IMAGE, deconv((2, 2), group=2, strides=[2, 2], pads=[1, 0, 0, 1])),
}
POOLS = {
    **{
        f"{kind} {name}": Case(shape, one(kind, **attributes))
        for kind in ("MaxPool", "AveragePool")
        for name, shape, attributes in [
            ("plain", IMAGE, {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("pad", (1, 4, 7, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
            ("pad even", (1, 4, 8, 6), {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}),
            ("sppf", IMAGE, {"kernel_shape": [5, 5], "pads": [2] * 4}),
            ("ceil", (1, 4, 6, 7), {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
            (
                "ceil and pad",
                (1, 4, 8, 7),
                {"kernel_shape": [3, 2], "strides": [2, 3], "pads": [1, 0, 1, 1], "ceil_mode": 1},
            ),
            ("same upper", IMAGE, {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
            ("same lower", IMAGE, {"kernel_shape": [2, 3], "strides": [2, 1], "auto_pad": "SAME_LOWER"}),
        ]
    },
    **{
        f"AveragePool counted {name}": Case(
            shape, one("AveragePool", count_include_pad=1, kernel_shape=[3, 3], **attributes)
        )
        for name, shape, attributes in [
            ("pad", IMAGE, {"pads": [1] * 4}),
            ("stride", (1, 4, 8, 7), {"pads": [1, 0, 0, 1], "strides": [2, 2]}),
            ("none", IMAGE, {}),
        ]
    },
    "MaxPool after Relu": Case(
        (1, 4, 8, 8), lambda e, x: e.op("MaxPool", e.op("Relu", x), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    ),
    "MaxPool all negative": Case(
        (1, 4, 8, 8),
        lambda e, x: e.op("MaxPool", e.op("Sub", x, e.const(100.0)), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
    ),
    "GlobalAveragePool": Case(IMAGE, one("GlobalAveragePool")),
    "GlobalMaxPool": Case(IMAGE, one("GlobalMaxPool")),
    "GlobalAveragePool 3-D": Case((1, 4, 7), one("GlobalAveragePool")),
}


def resize(shape: tuple[int, ...] = IMAGE, by: Any = None, to: Any = None, **attributes: Any) -> Case:
    """`by`: scales, `to`: sizes, of height and width."""
    scales = None if by is None else floats([1, 1, *by])
    sizes = () if to is None else (np.asarray([*shape[:2], *to]),)
    return Case(shape, one("Resize", None, scales, *sizes, **attributes))


RESIZES = {
    **{
        f"nearest {how} {rounding} {size}": resize(
            **{"by" if isinstance(size[0], float) else "to": size},
            mode="nearest",
            coordinate_transformation_mode=how,
            nearest_mode=rounding,
        )
        for how in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for rounding in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
        for size in ((2.0, 2.0), (14, 9), (10, 4), (1, 1))
    },
    "nearest scales with a rest": resize(
        by=[1.5, 1.3], mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    **{
        f"linear {how} {size}": resize(to=size, mode="linear", coordinate_transformation_mode=how)
        for how in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
        for size in ((14, 12), (10, 9), (5, 4), (14, 3))
    },
    "linear scales": resize(by=[2.0, 3.0], mode="linear"),
    "linear one pixel": resize(to=(1, 1), mode="linear"),
    "linear one pixel, pytorch": resize(to=(1, 1), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    "linear scales with a rest": resize(by=[1.5, 1.5], mode="linear"),
    "linear asymmetric with a rest": resize(by=[1.5, 1.3], mode="linear", coordinate_transformation_mode="asymmetric"),
    "axes": Case(IMAGE, one("Resize", None, None, np.asarray([14, 12]), mode="nearest", axes=[2, 3])),
    "unchanged": resize(to=(7, 6), mode="linear"),
}
BLOCKS = {
    "SpaceToDepth": Case((1, 3, 6, 4), one("SpaceToDepth", blocksize=2)),
    "DepthToSpace": Case((1, 12, 3, 4), one("DepthToSpace", blocksize=2)),
    "DepthToSpace CRD": Case((1, 12, 3, 4), one("DepthToSpace", blocksize=2, mode="CRD")),
}


def sampled(**attributes: Any) -> Build:
    """At places inside, on and outside of the edges."""

    def build(e: Editor, x: str) -> str:
        places = np.linspace(-1.6, 1.6, 2 * 5 * 4 * 2, dtype=np.float32).reshape(2, 5, 4, 2)
        places[:, 0, 0], places[:, 0, 1], places[:, 0, 2] = (-1, 1), (0, 0), (-50, 9)
        near = e.op("Mul", e.op("Tanh", e.slice(e.op("GlobalMaxPool", x), 1, 0, 1)), e.const(0.1))
        return e.op("GridSample", x, e.op("Add", e.const(places), near), **attributes)

    return build


SAMPLES = {
    f"{mode} {outside} {corners}": Case(
        (2, 4, 7, 6),
        sampled(mode=mode, padding_mode=outside, align_corners=corners),
        opset=20 if mode == "linear" else 16,
        tolerance=1e-4,
    )
    for mode in ("bilinear", "nearest", "linear")
    for outside in ("zeros", "border")
    for corners in (0, 1)
}
SAMPLES["of one pixel"] = Case((2, 4, 1, 6), sampled(padding_mode="border"), opset=16, tolerance=1e-4)


@both(SAMPLES)
def test_samples(case: Case, after_conv: bool) -> None:
    check(case, after_conv)


@both({**CONVOLUTIONS, **{f"transposed {n}": c for n, c in TRANSPOSED.items()}})
def test_convolutions(case: Case, after_conv: bool) -> None:
    check(case, after_conv)


@both({**POOLS, **BLOCKS})
def test_pools_and_blocks(case: Case, after_conv: bool) -> None:
    check(case, after_conv)


@both(RESIZES)
def test_resizes(case: Case, after_conv: bool) -> None:
    check(case, after_conv)


def test_what_follows_a_convolution_is_fused_into_it() -> None:
    found = check(CONVOLUTIONS["relu6"], True)
    assert found == {"CONV_2D": 2, "TRANSPOSE": 1}
    assert check(CONVOLUTIONS["relu read twice"])["RELU"] == 1
    assert check(CONVOLUTIONS["stride 2 pad 1"])["PAD"] == 0
