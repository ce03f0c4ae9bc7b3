"""How many bits of an 8-bit weight may be used on this processor."""

from __future__ import annotations

import platform

from edgekit.runtime.cores import cpu_flags


def weight_bits() -> int:
    """8, but 7 on x86 without VNNI, or where that cannot be read: u8×s8 products are added there
    in pairs in 16 bits, which overflow unless weights stay below 64."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    return 7 if x86 and not cpu_flags() & {"avx_vnni", "avx512_vnni"} else 8
