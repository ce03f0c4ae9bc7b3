"""One layer's tensors, checked one by one, and the weights they stand for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from edgekit.errors import SourceError
from edgekit.sources.assembly import Tensors

_NEXT = "check that config.json and the weights belong together, or take the float original of the model"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_AT_ONCE = 2**24  # values, of those that cross words


@dataclass(frozen=True)
class Integers:
    """weight[n, k] = (values[n, k] - zeros[n, g]) * scales[n, g], where g is k // group, or order[k].

    `values` uint8 (N, K); `scales` float32 and `zeros` int32 (N, groups).
    """

    values: Tensor
    scales: Tensor
    zeros: Tensor
    bits: int
    group: int
    order: Tensor | None = None


@dataclass(frozen=True)
class Floats:
    """A weight whose steps are not even, and why it is not kept as integers."""

    weight: Tensor
    why: str


class Parts:
    """The tensors of the layer `name`, which has `rows` outputs and `columns` inputs."""

    def __init__(self, tensors: Tensors, name: str, rows: int, columns: int) -> None:
        self._tensors, self.name = tensors, name
        self.rows, self.columns = rows, columns

    def has(self, part: str) -> bool:
        return f"{self.name}.{part}" in self._tensors

    def look(self, part: str) -> Tensor:
        """Returns a tensor and leaves it among the rest. Raises SourceError when it is missing."""
        tensor = self._tensors.get(f"{self.name}.{part}")
        if tensor is None:
            raise SourceError(f"The checkpoint lacks {self.name}.{part}", "", "download or copy it again")
        return tensor

    def take(self, part: str, shape: tuple[int, ...] | None, kinds: tuple[torch.dtype, ...] = (torch.int32,)) -> Tensor:
        """Removes a tensor from the rest and returns it. Raises SourceError when it is missing or not of the
        expected form."""
        tensor = self.look(part)
        if tensor.dtype not in kinds or (shape is not None and tuple(tensor.shape) != shape):
            named = " or ".join(str(k).removeprefix("torch.") for k in kinds)
            expected = named if shape is None else f"{named} of {shape}"
            raise self.misfit(part, expected)
        if tensor.is_floating_point() and tensor.dtype in FLOATS and not bool(torch.isfinite(tensor).all()):
            raise SourceError(f"{self.name}.{part} holds values that are no numbers", "", _NEXT)
        del self._tensors[f"{self.name}.{part}"]
        return tensor

    def drop(self, *parts: str) -> None:
        """Removes tensors that have no bearing on the weights."""
        for part in parts:
            self._tensors.pop(f"{self.name}.{part}", None)

    def misfit(self, part: str, expected: str) -> SourceError:
        tensor = self.look(part)
        return SourceError(
            f"{self.name}.{part} does not fit its layer of {self.rows}x{self.columns}",
            f"it is {str(tensor.dtype).removeprefix('torch.')} of {tuple(tensor.shape)}, and {expected} was expected",
            _NEXT,
        )

    def order(self, part: str, groups: int, sizes: list[int], dealt: bool = False) -> tuple[int, Tensor | None]:
        """Inputs a group, and the group of each where that is not its number divided by it. `sizes`: those
        that the config names, in inputs; 0 or less: one group for all. `dealt`: the config says that inputs
        were given to groups in an order of their own, which nothing but `part` tells."""
        known = [self.columns if s <= 0 else min(s, self.columns) for s in sizes]
        known = [s for s in known if -(-self.columns // s) == groups]
        stored = self.take(part, (self.columns,), (torch.int32, torch.int64)) if self.has(part) else None
        index = None if stored is None else stored.long()
        if index is not None and (bool((index == -1).all()) or (groups > 1 and not bool(index.any()))):
            index = None  # as it was made, never filled in
        if index is None and dealt and groups > 1:
            raise SourceError(
                f"{self.name} does not say which group each of its inputs belongs to",
                f"the config says that they are out of order, and {part} is "
                f"{'missing' if stored is None else 'not filled in'}",
                "download or copy the checkpoint again",
            )
        if index is None:
            if not known:
                raise SourceError(
                    f"{self.name} has {groups} groups of its {self.columns} inputs, and nothing says which",
                    f"the config names groups of {', '.join(map(str, sizes)) or 'no size'}",
                    _NEXT,
                )
            return known[0], None
        if int(index.min()) < 0 or int(index.max()) + 1 != groups:
            raise SourceError(
                f"{self.name}.{part} does not fit its layer's scales",
                f"it names groups from {int(index.min())} to {int(index.max())}, and there are {groups} scales an output",
                _NEXT,
            )
        if self.columns % groups == 0:
            known.append(self.columns // groups)
        for size in known:
            if torch.equal(index, torch.arange(self.columns) // size):
                return size, None
        return -(-self.columns // groups), index


def word_count(count: int, bits: int) -> int:
    """Words of 32 bits that hold `count` values one after the other."""
    return -(-count * bits // 32)


def unpacked(words: Tensor, bits: int, count: int) -> Tensor:
    """uint8 (…, count) from int32 words along the last axis, the first value in the lowest bits; one that
    does not fit a word goes on in the next."""
    if 32 % bits == 0:
        shifts = torch.arange(0, 32, bits, dtype=torch.int32)
        parts = (words.contiguous()[..., None] >> shifts) & (2**bits - 1)
        return parts.to(torch.uint8).flatten(-2)[..., :count]
    flat = words.reshape(-1, words.shape[-1])
    step = max(_AT_ONCE // max(count, 1), 1)
    blocks = [_crossing(flat[i : i + step], bits, count) for i in range(0, len(flat), step)]
    return torch.cat(blocks).reshape(*words.shape[:-1], count)


def _crossing(words: Tensor, bits: int, count: int) -> Tensor:
    starts = torch.arange(count) * bits
    at, offset = starts // 32, starts % 32
    unsigned = torch.nn.functional.pad(words.long() & 0xFFFFFFFF, (0, 1))
    low, high = unsigned[:, at] >> offset, unsigned[:, at + 1] << (32 - offset)
    return ((low | high) & (2**bits - 1)).to(torch.uint8)


def padded_unpacked(words: Tensor, bits: int, count: int) -> Tensor:
    """The same for words that hold whole values only and leave their highest bits free."""
    shifts = torch.arange(0, 32 - bits + 1, bits, dtype=torch.int32)[: 32 // bits]
    parts = (words.contiguous()[..., None] >> shifts) & (2**bits - 1)
    return parts.to(torch.uint8).flatten(-2)[..., :count]
