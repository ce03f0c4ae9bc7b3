"""The weights of a GGUF tensor: as floats, or as the file's own integers and scales.

ggml's blocks that are an integer times one scale are MatMulNBits's blocks in another order of bits.
Their integers are read by the gguf package itself, from blocks whose scale is set to one: so what is
kept is by construction what it would have dequantised.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgekit.errors import SourceError
from edgekit.layers.packed import Packed
from edgekit.sources.gguf_header import Array, Tensor

_WIDEST = 128  # block of onnxruntime's fast kernels; a wider one repeats its scale, with the same result
_ROWS = 4096  # at a time, to bound what is held besides the result
FLOATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class _Layout:
    """The layout of a block: the bits of our integers, the number added to ggml's, and where the fp16 scale and
    minimum are."""

    bits: int
    zero: int
    scale: int
    minimum: int | None = None


_EXACT = {
    "Q4_0": _Layout(4, 8, 0),
    "Q4_1": _Layout(4, 0, 0, 2),
    "Q8_0": _Layout(8, 128, 0),
    "TQ1_0": _Layout(2, 2, 52),
    "TQ2_0": _Layout(2, 2, 64),
}
_ONE = np.frombuffer(np.float16(1).tobytes(), np.uint8)


def keeps(tensor: Tensor) -> bool:
    """Whether `packed` can keep the tensor as it is stored."""
    layout = _EXACT.get(tensor.kind)
    if layout is None or len(tensor.shape) != 2:
        return False
    if layout.minimum is None:
        return True
    blocks = _blocks(tensor, tensor.raw())
    scale, minimum = _half(blocks, layout.scale), _half(blocks, layout.minimum)
    zeros = _zero_points(scale, minimum, layout.bits)
    return bool(np.array_equal(zeros * scale, -minimum))


def packed(tensor: Tensor, order: Array | None = None) -> Packed:
    """The file's own integers; `order`: the rows to take, if not as they come."""
    layout = _EXACT[tensor.kind]
    raw = tensor.raw()
    parts = []
    for start in range(0, len(raw), _ROWS):
        rows = raw[start : start + _ROWS] if order is None else raw[order[start : start + _ROWS]]
        parts.append(_packed_rows(tensor, rows, layout))
    zeros = None if parts[0][2] is None else torch.cat([p[2] for p in parts if p[2] is not None])
    return Packed.of(
        torch.cat([p[0] for p in parts]),
        torch.cat([p[1] for p in parts]),
        zeros,
        layout.bits,
        tensor.shape[-1],
        exact=True,
    )


def _packed_rows(
    tensor: Tensor, rows: Array, layout: _Layout
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    blocks = _blocks(tensor, rows).copy()
    scale = _half(blocks, layout.scale)
    zeros = None
    if layout.minimum is not None:
        minimum = _half(blocks, layout.minimum)
        zeros = torch.from_numpy(_zero_points(scale, minimum, layout.bits).astype(np.uint8))
        blocks[..., layout.minimum : layout.minimum + 2] = 0
    blocks[..., layout.scale : layout.scale + 2] = _ONE
    integers = _dequantise(tensor, blocks.reshape(len(rows), -1)) + layout.zero
    if integers.min() < 0 or integers.max() >= 2**layout.bits:
        raise SourceError(
            f"{tensor.path.name} is damaged", f"{tensor.name} holds no valid {tensor.kind}", "download or copy it again"
        )
    _finite(tensor, scale)
    block = tensor.shape[-1] // scale.shape[1]
    times = max(1, block // _WIDEST)
    shaped = integers.astype(np.uint8).reshape(len(rows), -1, block // times)
    return torch.from_numpy(shaped), torch.from_numpy(scale.repeat(times, 1)), zeros


def values(tensor: Tensor) -> Array:
    """float32, in the tensor's shape. Raises SourceError for infinities and NaN."""
    raw = tensor.raw()
    out = np.empty((len(raw), tensor.shape[-1]), np.float32)
    for start in range(0, len(raw), _ROWS):
        rows = _dequantise(tensor, raw[start : start + _ROWS])
        _finite(tensor, rows)
        out[start : start + _ROWS] = rows
    return out.reshape(tensor.shape)


def _dequantise(tensor: Tensor, rows: Array) -> Array:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    if tensor.kind in ("F32", "F16"):
        return np.ascontiguousarray(rows).view(np.float32 if tensor.kind == "F32" else np.float16)
    try:
        with np.errstate(all="ignore"):  # damaged scales are told from the result
            return dequantize(np.ascontiguousarray(rows), GGMLQuantizationType[tensor.kind])
    except NotImplementedError as error:
        raise SourceError(
            f"{tensor.path.name} has weights in a format edgekit cannot read",
            f"{tensor.name} is stored as {tensor.kind}",
            "take a file of another quantisation",
        ) from error


def _blocks(tensor: Tensor, rows: Array) -> Array:
    """uint8 (rows, blocks, bytes of a block)."""
    from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

    return rows.reshape(len(rows), -1, GGML_QUANT_SIZES[GGMLQuantizationType[tensor.kind]][1])


def _half(blocks: Array, at: int) -> Array:
    """float32 (rows, blocks) of the fp16 numbers at byte `at` of each block."""
    return np.ascontiguousarray(blocks[..., at : at + 2]).view(np.float16)[..., 0].astype(np.float32)


def _zero_points(scale: Array, minimum: Array, bits: int) -> Array:
    """The integers that ggml's `q * scale + minimum` would have as zero points, if it had any."""
    with np.errstate(all="ignore"):
        return np.nan_to_num(np.clip(np.round(-minimum / scale), 0, 2**bits - 1))


def _finite(tensor: Tensor, numbers: Array) -> None:
    if not np.isfinite(numbers).all():
        raise SourceError(
            f"{tensor.path.name} is damaged",
            f"{tensor.name} holds infinities or values that are no numbers",
            "download or copy it again",
        )
