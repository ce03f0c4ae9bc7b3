"""What a program was built for, from its first bytes (ELF): told here, where a phone would only say `not found`."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from edgekit.errors import UsageError

_ABIS = {3: "x86", 40: "armeabi-v7a", 62: "x86_64", 183: "arm64-v8a", 243: "riscv64"}  # by e_machine
_INTERPRETER = 3  # kind of the segment that names the loader
_HEAD = 2**16


def check_program(path: Path, abis: Sequence[str]) -> None:
    """That a phone of these ABIs can start it; scripts pass. Raises UsageError."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(b"#!"):
        return
    if not head.startswith(b"\x7fELF") or len(head) < 64:
        raise UsageError(
            f"{path} is no program for a phone", "it is no ELF file", "name one that was built for Android"
        )
    order, wide = "<" if head[5] == 1 else ">", head[4] == 2
    (machine,) = struct.unpack_from(order + "H", head, 18)
    abi = _ABIS.get(machine, f"processor {machine}")
    if abis and abi not in abis:
        raise UsageError(
            f"{path.name} was built for {abi}, and this phone runs {', '.join(abis)}",
            "",
            f"name one that was built for {abis[0]}",
        )
    loader = _loader(head, order, wide)
    if loader and not loader.startswith("/system/"):
        raise UsageError(
            f"{path.name} was built for Linux, not for Android",
            f"it is started by {loader}",
            "name one that was built with Android's NDK, or without shared libraries",
        )


def _loader(head: bytes, order: str, wide: bool) -> str:
    """ "" for a program that needs none."""
    try:
        start = struct.unpack_from(order + ("Q" if wide else "I"), head, 32 if wide else 28)[0]
        size, count = struct.unpack_from(order + "HH", head, 54 if wide else 42)
        for index in range(min(count, 64)):
            at = start + index * size
            if struct.unpack_from(order + "I", head, at)[0] == _INTERPRETER:
                offset = struct.unpack_from(order + ("Q" if wide else "I"), head, at + (8 if wide else 4))[0]
                return head[offset : offset + 200].partition(b"\0")[0].decode("utf-8", "replace")
    except struct.error:
        pass
    return ""
