"""The devices that the emulator offers: those of AI Hub that targets name, and marked.

A chip's numbers are its target's. Other attributes follow what `qai_hub` and
qualcomm/ai-hub-models read off the real devices, where they are known.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgekit.target import Chip, targets
from edgekit_hub_emulator import MARK, SUFFIX


@dataclass(frozen=True)
class EmulatedDevice:
    model: str  # its name at AI Hub
    chip: Chip
    system: str  # android, windows, linux
    version: str
    form: str
    vendor: str
    chipset: str

    @property
    def name(self) -> str:
        return self.model + SUFFIX

    @property
    def attributes(self) -> list[str]:
        return [
            MARK,
            f"format:{self.form}",
            "framework:tflite",
            "framework:qnn",
            "framework:onnx",
            f"vendor:{self.vendor}",
            f"os:{self.system}",
            f"chipset:{self.chipset}",
            f"chipset:{self.chip.soc.lower()}",
            f"hexagon:v{self.chip.htp}",
            f"soc-model:{self.chip.soc_id}",
            f"htp-supports-fp16:{str(self.chip.fp16).lower()}",
        ]


_LOOKS = {  # by how a part's number begins; the first that fits
    "SM8350": "android 11 phone qualcomm-snapdragon-888",
    "SM8450": "android 12 phone qualcomm-snapdragon-8gen1",
    "SM8550": "android 13 phone qualcomm-snapdragon-8gen2",
    "SM8650": "android 14 phone qualcomm-snapdragon-8gen3",
    "SM8750": "android 15 phone qualcomm-snapdragon-8-elite-for-galaxy",
    "SM8850": "android 16 phone qualcomm-snapdragon-8-elite-gen5",
    "SM": "android 15 phone qualcomm-",
    "SC8380XP": "windows 11 compute qualcomm-snapdragon-x-elite",
    "SC8480XP": "windows 11 compute qualcomm-snapdragon-x2-elite",
    "SC": "windows 11 compute qualcomm-",
    "SA": "android 14 auto qualcomm-",
    "": "linux 1.6 iot qualcomm-",
}
_MAKERS = ("samsung", "xiaomi", "arduino")


@functools.cache
def devices() -> tuple[EmulatedDevice, ...]:
    by_name: dict[str, EmulatedDevice] = {}
    for target in targets().values():
        for chip in target.chips:
            look = next(v for k, v in _LOOKS.items() if chip.soc.startswith(k))
            system, version, form, chipset = look.split()
            chipset += chip.soc.lower() if chipset.endswith("-") else ""
            for name in chip.aihub:
                maker = name.split()[0].lower()
                vendor = maker if maker in _MAKERS else "qualcomm"
                by_name.setdefault(name, EmulatedDevice(name, chip, system, version, form, vendor, chipset))
    return tuple(by_name.values())


def select(
    name: str = "", version: str = "", attributes: Iterable[str] = (), one: bool = False
) -> list[EmulatedDevice]:
    """Devices as AI Hub filters them; a name is taken with the suffix and without it."""
    required = set(attributes)
    matches = [
        d
        for d in devices()
        if name in ("", d.name, d.model) and required <= set(d.attributes) and _fits(d.version, version)
    ]
    if not one or not matches:
        return matches
    newest = max(_number(d.version) for d in matches)
    return [next(d for d in matches if _number(d.version) == newest)]


def _fits(version: str, interval: str) -> bool:
    """`interval` is a version, or an interval that is open on the right: [12,13), [12,), [,13)."""
    if not interval.startswith("["):
        return interval in ("", version)
    low, _, high = interval.strip("[)").partition(",")
    number = _number(version)
    return (not low or _number(low) <= number) and (not high or number < _number(high))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(p) for p in re.findall("[0-9]{1,9}", version))
