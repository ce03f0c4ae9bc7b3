"""The little SVG that the plots need: escaped text, linear scales, round tick values.

Colours are classes (`c0` … `c7`, `axis`, `grid`), so that the page's style decides them and both
themes work. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8
FONT = 12.0
LETTER = 0.63  # width of an average letter, as a share of FONT, in a wide bold face


@dataclass(frozen=True)
class Scale:
    """Data to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return self.start + share * (self.end - self.start)


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round values inside [low, high], `about` of them."""
    step = 10 ** math.floor(math.log10((high - low) / about)) if high > low else 1.0
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (step * f) <= about)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def padded(values: Sequence[float], share: float = 0.08) -> tuple[float, float]:
    """The range of `values` with some room at both ends."""
    low, high = min(values), max(values)
    room = (high - low) * share or abs(high) * share or 1.0
    return low - room, high + room


def text(x: float, y: float, content: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(content)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def rect(x: float, y: float, width: float, height: float, css: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{css}"/>'


def group(parts: Sequence[str], title: str = "", css: str = "") -> str:
    """Shapes that belong together; `title` shows when the pointer rests on them."""
    head = f"<title>{escape(title)}</title>" if title else ""
    return f'<g class="{css}">{head}{"".join(parts)}</g>'


def document(width: float, height: float, label: str, parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def width_of(content: str) -> float:
    """About how wide `content` is in pixels, rather too much than too little."""
    return len(content) * FONT * LETTER


def shortened(content: str, pixels: float) -> str:
    """`content`, its middle left out when it is wider than `pixels`."""
    keep = max(int(pixels / (FONT * LETTER)) - 1, 4)
    if len(content) <= keep + 1:
        return content
    return f"{content[: keep - keep // 2]}…{content[len(content) - keep // 2 :]}"
