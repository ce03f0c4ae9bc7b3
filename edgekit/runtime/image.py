"""Images in: decode, resize, place, and write the input tensor, without copies in between."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit.errors import DataError, MissingError, guard, no_file
from edgekit.runtime.engine import Array
from edgekit.runtime.image_size import size_of
from edgekit.runtime.orientation import upright, upright_size
from edgekit.spec import ImageSpec, TensorSpec
from edgekit.system.documents import read_bytes

_LARGEST = 2**30  # bytes of a file
_PIXELS, _PIXELS_A_BYTE = 40_000_000, 32  # what an image may have: so many, and more for a large file


def read_image(path: str | os.PathLike[str]) -> Array:
    """A JPEG, PNG, … as HWC uint8 RGB, upright. Uses OpenCV when installed, else Pillow."""
    file = Path(path)
    if not file.is_file():
        raise no_file("image", os.fspath(path))
    with guard(DataError, f"{file.name} is not an image that can be read", "use JPEG or PNG"):
        data = read_bytes(file, _LARGEST)
        _check_size(file, data)
        try:
            import cv2
        except ImportError:
            return _read_with_pillow(file, data)
        stored = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(np.frombuffer(data, np.uint8), stored)
        if image is None:
            raise DataError(f"{file.name} is not an image that can be read", "", "use JPEG or PNG")
        return upright(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), data)


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height of what `read_image` returns, from the file's header. Raises DataError as it does."""
    file = Path(path)
    with guard(DataError, f"{file.name} is not an image that can be read", "use JPEG or PNG"):
        data = read_bytes(file, _LARGEST)
        return upright_size(_check_size(file, data), data)


def _check_size(file: Path, data: bytes) -> tuple[int, int]:
    """Decoding takes some four bytes a pixel. Raises DataError for more pixels than such a file may have."""
    size = size_of(data)
    if size is None:
        raise DataError(
            f"{file.name} is not an image that can be read",
            "it is no JPEG, PNG, BMP, WebP, GIF or TIFF",
            "use JPEG or PNG",
        )
    _check_pixels(file, size, len(data))
    return size


def _check_pixels(file: Path, size: tuple[int, int], length: int) -> None:
    if size[0] * size[1] > _PIXELS + _PIXELS_A_BYTE * length:
        raise DataError(
            f"{file.name} unfolds to {size[0]} x {size[1]} pixels",
            f"from {length} bytes: no photograph does",
            "make it smaller, or pass the pixels as an array",
        )


def _read_with_pillow(file: Path, data: bytes) -> Array:
    try:
        from PIL import Image
    except ImportError:
        raise MissingError(
            "Reading image files needs OpenCV or Pillow",
            "neither is installed",
            "pip install pillow, or pass an HWC uint8 RGB array",
        ) from None
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_pixels(file, image.size, len(data))  # what this reader takes for the size
            image.load()
            stored: Image.Image = image
            if stored.mode.startswith("I"):  # 16 bits a pixel: the upper eight, as OpenCV does
                stored = Image.fromarray((np.asarray(stored) >> 8).astype(np.uint8))
            return upright(np.asarray(stored.convert("RGB")), data)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file.name} is not an image that can be read", str(error), "use JPEG or PNG") from error


@dataclass(frozen=True)
class Placement:
    """How image pixels map to input pixels: `input = image * scale + offset`, for x and y."""

    scale: tuple[float, float]
    offset: tuple[int, int]
    size: tuple[int, int]  # width and height of the resized image


def place(image_size: tuple[int, int], spec: ImageSpec) -> Placement:
    """Where an image of (height, width) goes in the model's input."""
    height, width = image_size
    if spec.resize == "stretch":
        return Placement((spec.width / width, spec.height / height), (0, 0), (spec.width, spec.height))
    scale = min(spec.height / height, spec.width / width)
    new_width = min(max(round(width * scale), 1), spec.width)
    new_height = min(max(round(height * scale), 1), spec.height)
    offset = (0, 0)
    if spec.resize == "letterbox":
        # the same rounding as the letterbox these detectors were trained with
        offset = (round((spec.width - new_width) / 2 - 0.1), round((spec.height - new_height) / 2 - 0.1))
    return Placement((scale, scale), offset, (new_width, new_height))


def resize(image: Array, size: tuple[int, int]) -> Array:
    """Bilinear with half-pixel centres and no smoothing, as OpenCV's INTER_LINEAR.

    OpenCV when installed; the numpy version differs from it by one grey level at most.
    """
    width, height = size
    if image.shape[:2] == (height, width):
        return image
    try:
        import cv2
    except ImportError:
        return _resize_with_numpy(image, width, height)
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _resize_with_numpy(image: Array, width: int, height: int) -> Array:
    y0, y1, fy = _taps(image.shape[0], height)
    x0, x1, fx = _taps(image.shape[1], width)
    # Rows first: fewer of them remain for the second, strided, step. 11-bit weights as OpenCV's.
    top, bottom = image[y0].astype(np.int32), image[y1].astype(np.int32)
    rows = top * (2048 - fy)[:, None, None] + bottom * fy[:, None, None]
    left, right = rows[:, x0] >> 4, rows[:, x1] >> 4
    mixed = left * (2048 - fx)[None, :, None] + right * fx[None, :, None]
    return ((mixed + (1 << 17)) >> 18).astype(np.uint8)


def _taps(source: int, target: int) -> tuple[Array, Array, Array]:
    """For each target pixel: its two source neighbours and the weight of the second, in 1/2048."""
    centre = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0)
    low = np.minimum(centre.astype(np.int32), source - 1)
    weight = np.rint((centre - low) * 2048).astype(np.int32)
    return low, np.minimum(low + 1, source - 1), weight


class Preprocessor:
    """Writes images into one input buffer, as an `ImageSpec` says."""

    def __init__(self, spec: ImageSpec, buffer: Array, tensor: TensorSpec) -> None:
        """`buffer`: the model's input as `tensor` describes it, `NCHW`, `CHW`, `NHWC` or `HWC`."""
        self.spec = spec
        image = buffer[0] if buffer.ndim == 4 else buffer
        planar = tensor.layout.endswith("CHW")
        self._planes = image if planar else image.transpose(2, 0, 1)
        order = (0, 1, 2) if spec.color == "rgb" else (2, 1, 0)
        # mean and std are in the model's own channel order
        self._channels = [
            (source, np.float32(1 / std), np.float32(-mean / std))
            for source, mean, std in zip(order, spec.mean, spec.std)
        ]
        self._levels = [_levels(tensor, scale, shift) for _, scale, shift in self._channels]
        # One step for all channels, where they are alike and lie as the pixels do.
        alike = all((levels == self._levels[0]).all() for levels in self._levels)
        self._image = image if alike and not planar and spec.color == "rgb" else None
        self._placement: Placement | None = None

    def __call__(self, image: Array) -> Placement:
        """`image`: HWC uint8 RGB, or HW uint8 grey. Raises DataError for anything else."""
        if image.ndim == 2:
            image = np.repeat(image[:, :, None], 3, 2)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise DataError(
                f"An image must be HWC uint8 RGB, found {image.dtype} {image.shape}",
                "",
                "convert it: np.asarray(image.convert('RGB'))",
            )
        placement = place((image.shape[0], image.shape[1]), self.spec)
        resized = resize(image, placement.size)
        if placement != self._placement:  # the padding of the last image still stands
            for plane, levels in zip(self._planes, self._levels):
                plane[...] = levels[self.spec.pad]
            self._placement = placement
        (x, y), (width, height) = placement.offset, placement.size
        if self._image is not None:
            self._write(resized, self._image[y : y + height, x : x + width], 0)
            return placement
        for channel, (source, _, _) in enumerate(self._channels):
            target = self._planes[channel, y : y + height, x : x + width]
            self._write(resized[:, :, source], target, channel)
        return placement

    def _write(self, pixels: Array, target: Array, channel: int) -> None:
        """Pixels as the model's numbers, without copies in between."""
        _, scale, shift = self._channels[channel]
        levels = self._levels[channel]
        if target.dtype == np.float32:
            np.multiply(pixels, scale, out=target)
            if shift:
                target += shift
        elif (levels == _SHIFTED).all():  # pixel - 128 is the pixel with its highest bit turned
            np.bitwise_xor(pixels, 128, out=target.view(np.uint8))
        elif (levels == _RAW).all():
            target[...] = pixels
        else:
            np.take(levels, pixels, out=target, mode="clip")


_RAW, _SHIFTED = np.arange(256), np.arange(-128, 128)


def _levels(tensor: TensorSpec, scale: np.float32, shift: np.float32) -> Array:
    """What each of the 256 values of a pixel becomes in the model's input."""
    pixels = np.arange(256, dtype=np.float32)
    if tensor.dtype == "float32":
        return pixels * scale + shift
    if tensor.scale is None:  # raw pixels; the graph itself turns them into numbers
        return pixels.astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    steps = np.rint((pixels * scale + shift) / np.float32(tensor.scale)) + tensor.zero_point
    return np.clip(steps, limits.min, limits.max).astype(tensor.dtype)
