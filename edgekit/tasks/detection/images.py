"""The data of a conversion of a detector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.data.images import Dataset


@dataclass(frozen=True)
class ImageData:
    """Images to quantise with, and images with boxes to judge on."""

    calibrating: Dataset | None
    evaluating: Dataset | None

    @property
    def calibration_count(self) -> int:
        return len(self.calibrating.images) if self.calibrating else 0

    @property
    def calibration_sha256(self) -> str:
        return self.calibrating.fingerprint() if self.calibrating else ""

    @property
    def compared(self) -> Dataset | None:
        """The images on which packages are compared with float; None without any."""
        return self.evaluating or (self.calibrating.without_boxes() if self.calibrating else None)
