"""Numeric parity of two runs over the same inputs: signal-to-noise ratio and largest error."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass
class Parity:
    """Accumulates over images. SNR in dB: 10·log10(Σ reference² / Σ (reference - other)²)."""

    signal: dict[str, float] = field(default_factory=dict)
    noise: dict[str, float] = field(default_factory=dict)
    worst: dict[str, float] = field(default_factory=dict)
    images: int = 0

    def add(self, reference: dict[str, Array], other: dict[str, Array]) -> None:
        self.images += 1
        for name, expected in reference.items():
            actual = other[name]
            if expected.shape != actual.shape:  # suppression in the graph kept other boxes
                continue
            difference = expected.astype(np.float64) - actual
            self.signal[name] = self.signal.get(name, 0.0) + float(np.square(expected, dtype=np.float64).sum())
            self.noise[name] = self.noise.get(name, 0.0) + float(np.square(difference).sum())
            worst = float(np.abs(difference).max(initial=0.0))
            self.worst[name] = max(self.worst.get(name, 0.0), worst)

    def snr(self, name: str) -> float:
        """dB; 200 where the runs agree to the last bit (JSON has no infinity)."""
        noise, signal = self.noise[name], self.signal[name]
        if noise == 0:
            return 200.0
        return 10 * math.log10(signal / noise) if signal > 0 else -200.0
