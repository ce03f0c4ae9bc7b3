"""Changes to bytes of which nothing is known."""

from __future__ import annotations

import struct

from tests.attacks.fuzzing.case import Random

_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutate(random: Random, content: bytes, first: int | None = None) -> bytes:
    """One to four changes; three in four of them among the `first` bytes, where a format's headers lie."""
    data = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        end = min(first, len(data)) if first and random.random() < 0.75 else len(data)
        if not end:
            return bytes(data)
        at = random.randrange(end)
        _one(random, data, at)
    return bytes(data)


def _one(random: Random, data: bytearray, at: int) -> None:
    size = random.choice((1, 2, 4, 8, 64, 1000))
    match random.randrange(9):
        case 0:
            data[at] ^= 1 << random.randrange(8)
        case 1:
            data[at] = random.randrange(256)
        case 2:  # cut short
            del data[at:]
        case 3:  # a piece left out
            del data[at : at + size]
        case 4:  # a piece twice
            data[at:at] = data[at : at + size]
        case 5:  # a piece of elsewhere
            other = random.randrange(len(data))
            data[at : at + size] = data[other : other + size]
        case 6:
            data[at : at + size] = random.randbytes(min(size, 64))
        case 7:  # a number at the edge of its type, as lengths and offsets are stored
            number, wide = random.choice(_NUMBERS), random.choice("HIQ")
            packed = struct.pack(f"<{wide}", number & (2 ** (8 * struct.calcsize(wide)) - 1))
            data[at : at + len(packed)] = packed
        case 8:
            data[at:at] = bytes(size)
