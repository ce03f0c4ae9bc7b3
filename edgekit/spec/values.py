"""What models of every kind are described with: precisions, tensors, how an image becomes one."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable


class Precision(enum.StrEnum):
    """Weights × activations, as the field writes them."""

    FP32 = "fp32"
    FP16 = "fp16"
    W8A8 = "w8a8"
    W8A16 = "w8a16"
    W8 = "w8"
    W4 = "w4"
    TERNARY = "ternary"

    @property
    def is_float(self) -> bool:
        return self in (Precision.FP32, Precision.FP16)

    @property
    def needs_calibration(self) -> bool:
        """Whether ranges of activations must be known beforehand."""
        return self in (Precision.W8A8, Precision.W8A16)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. `shape` is fixed; `layout` names its axes (`NCHW`, `BN4`, `BCN`).

    Integers stand for `(integer - zero_point) * scale` when there is a scale, else for themselves.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    layout: str = ""
    scale: float | None = None
    zero_point: int = 0


@dataclass(frozen=True)
class ImageSpec:
    """How an image becomes the input tensor: `tensor = (pixel - mean) / std`, pixels 0..255.

    resize: `letterbox` (keep aspect, centred, rest padded), `letterbox-topleft`, or `stretch`.
    """

    height: int
    width: int
    resize: Literal["letterbox", "letterbox-topleft", "stretch"] = "letterbox"
    pad: int = 114
    color: Literal["rgb", "bgr"] = "rgb"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)


@runtime_checkable
class ImageModel(Protocol):
    """The spec of any network of one image: what prepares the image, and what comes out."""

    @property
    def input(self) -> TensorSpec: ...

    @property
    def image(self) -> ImageSpec: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
