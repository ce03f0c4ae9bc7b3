"""The devices that the emulator offers: names and attributes as AI Hub has them, and marked.

Attributes follow what `qai_hub` and qualcomm/ai-hub-models read off the real ones. Only chips whose
numbers Qualcomm's compiler was seen to take are here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgekit.emulator import MARK, SUFFIX


@dataclass(frozen=True)
class EmulatedDevice:
    model: str  # its name at AI Hub
    system: str  # android, windows, linux
    version: str
    form: str
    vendor: str
    chipset: tuple[str, ...]
    soc: str
    soc_id: int
    htp: int
    fp16: bool = True

    @property
    def name(self) -> str:
        return self.model + SUFFIX

    @property
    def attributes(self) -> list[str]:
        return [
            MARK, f"format:{self.form}", "framework:tflite", "framework:qnn", "framework:onnx",
            f"vendor:{self.vendor}", f"os:{self.system}", *(f"chipset:{c}" for c in self.chipset),
            f"hexagon:v{self.htp}", f"soc-model:{self.soc_id}",
            f"htp-supports-fp16:{str(self.fp16).lower()}",
        ]  # fmt: skip


_CHIPS: dict[str, tuple[int, int, bool, tuple[str, ...]]] = {
    "SM8350": (30, 68, True, ("qualcomm-snapdragon-888", "sm8350")),
    "SM8450": (36, 69, True, ("qualcomm-snapdragon-8gen1", "sm8450")),
    "SM8550": (43, 73, True, ("qualcomm-snapdragon-8gen2", "sm8550")),
    "SM8650": (57, 75, True, ("qualcomm-snapdragon-8gen3", "sm8650")),
    "SM8750": (69, 79, True, ("qualcomm-snapdragon-8-elite-for-galaxy", "sm8750-ac")),
    "SM8850": (87, 81, True, ("qualcomm-snapdragon-8-elite-gen5", "sm8850")),
    "SC8380XP": (60, 73, True, ("qualcomm-snapdragon-x-elite", "sc8380xp")),
    "SC8480XP": (88, 81, True, ("qualcomm-snapdragon-x2-elite", "sc8480xp")),
    "QCS6490": (93, 68, False, ("qualcomm-qcs6490", "qcs6490")),
}
_OFFERED = (
    # devices of a chip; their system, its version, their form, their maker
    ("SM8350", "android 11 phone samsung", ("Samsung Galaxy S21", "Samsung Galaxy S21 (Family)")),
    ("SM8450", "android 12 phone samsung", ("Samsung Galaxy S22 5G", "Samsung Galaxy S22 (Family)")),
    ("SM8550", "android 13 phone samsung",
     ("Samsung Galaxy S23", "Samsung Galaxy S23+", "Samsung Galaxy S23 Ultra", "Samsung Galaxy S23 (Family)")),
    ("SM8650", "android 14 phone samsung",
     ("Samsung Galaxy S24", "Samsung Galaxy S24+", "Samsung Galaxy S24 Ultra", "Samsung Galaxy S24 (Family)")),
    ("SM8750", "android 15 phone samsung",
     ("Samsung Galaxy S25", "Samsung Galaxy S25+", "Samsung Galaxy S25 Ultra", "Samsung Galaxy S25 (Family)")),
    ("SM8750", "android 15 phone qualcomm", ("Snapdragon 8 Elite QRD",)),
    ("SM8850", "android 16 phone qualcomm", ("Snapdragon 8 Elite Gen 5 QRD",)),
    ("SC8380XP", "windows 11 compute qualcomm", ("Snapdragon X Elite CRD",)),
    ("SC8480XP", "windows 11 compute qualcomm", ("Snapdragon X2 Elite CRD",)),
    ("QCS6490", "linux 1.6 iot qualcomm", ("Dragonwing RB3 Gen 2 Vision Kit",)),
)  # fmt: skip


def _devices() -> tuple[EmulatedDevice, ...]:
    found = []
    for soc, words, names in _OFFERED:
        system, version, form, vendor = words.split()
        soc_id, htp, fp16, chipset = _CHIPS[soc]
        found += [
            EmulatedDevice(n, system, version, form, vendor, chipset, soc, soc_id, htp, fp16)
            for n in names
        ]
    return tuple(found)


DEVICES = _devices()


def select(
    name: str = "", version: str = "", attributes: Iterable[str] = (), one: bool = False
) -> list[EmulatedDevice]:
    """Devices as AI Hub filters them; a name is taken with the suffix and without it."""
    wanted = set(attributes)
    found = [
        d for d in DEVICES
        if name in ("", d.name, d.model) and wanted <= set(d.attributes) and _fits(d.version, version)
    ]  # fmt: skip
    if not one or not found:
        return found
    newest = max(_number(d.version) for d in found)
    return [next(d for d in found if _number(d.version) == newest)]


def _fits(version: str, wanted: str) -> bool:
    """`wanted` is a version, or an interval that is open on the right: [12,13), [12,), [,13)."""
    if not wanted.startswith("["):
        return wanted in ("", version)
    low, _, high = wanted.strip("[)").partition(",")
    number = _number(version)
    return (not low or _number(low) <= number) and (not high or number < _number(high))


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(p) for p in re.findall("[0-9]{1,9}", version))
