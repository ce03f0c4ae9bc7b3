"""The data of a conversion of a language model."""

from __future__ import annotations

from dataclasses import dataclass

_CALIBRATION_WINDOWS = 32


@dataclass(frozen=True)
class TextData:
    """Texts to decide on and to evaluate on; `name`: of the file with the latter."""

    texts: tuple[str, ...] = ()
    name: str = ""
    calibration_sha256: str = ""

    @property
    def calibration_count(self) -> int:
        return _CALIBRATION_WINDOWS if self.calibration_sha256 else 0
