"""Changes to zip containers: entries that are swapped, twice there, compressed, or lie about their sizes."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
from collections.abc import Callable

from tests.attacks.fuzzing import raw
from tests.attacks.fuzzing.case import Random

Entries = list[tuple[str, bytes]]
Change = Callable[[Random, str, bytes], bytes]  # of one entry's content, by its name


def entries_of(content: bytes) -> Entries:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [(n, archive.read(n)) for n in archive.namelist()]


def packed(entries: Entries, method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that stand twice, which is the point
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, content in entries:
                archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, method)
    return out.getvalue()


def mutate(random: Random, content: bytes, change: Change) -> bytes:
    """The container itself changed, or one of its entries by `change`, under a container that fits it."""
    if random.random() < 0.2:
        return raw.mutate(random, content)
    entries = entries_of(content)
    at = random.randrange(len(entries))
    name, inside = entries[at]
    method = zipfile.ZIP_STORED
    match random.randrange(12):
        case 0:
            other = random.randrange(len(entries))
            entries[at], entries[other] = (name, entries[other][1]), (entries[other][0], inside)
        case 1:
            entries.append((name, raw.mutate(random, inside)))
        case 2:
            method = random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
        case 3:
            entries[at] = (
                random.choice(("../../evil", "/evil", "a\\b", "evil.py", "x" * 3000, "", ".", f"{name}/", "\u202e")),
                inside,
            )
        case 4:
            del entries[at]
        case 5:
            entries += [(f"more{i}", b"") for i in range(20_000)]
        case 6:
            return _sizes(random, packed(entries))
        case 7:  # a bomb: little that unfolds to much
            entries[at], method = (name, bytes(2**26)), zipfile.ZIP_DEFLATED
        case _:
            entries[at] = (name, change(random, name, inside))
    return packed(entries, method)


def _sizes(random: Random, content: bytes) -> bytes:
    """Sizes, offsets, flags or methods of the directory that are not those of the entries."""
    data = bytearray(content)
    places, at = [], 0
    while (at := content.find(b"PK\1\2", at)) >= 0:
        places.append(at)
        at += 4
    if not places:
        return raw.mutate(random, content)
    place = random.choice(places)
    offset, form = random.choice(
        ((8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"), (30, "H"), (42, "I"))
    )
    value = random.choice((0, 1, 2**15, 2**16 - 1, *((2**31, 2**32 - 1, 2**30) if form == "I" else ())))
    struct.pack_into(f"<{form}", data, place + offset, value)
    return bytes(data)
