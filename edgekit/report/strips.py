"""Plot: every launch of a package as a strip of its samples, so that it shows how launches differ."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.report import svg
from edgekit.report.svg import FONT, Scale

_ROW, _TOP, _BOTTOM = 30, 8, 42
_DOTS = 200  # more than these look no different and weigh more


@dataclass(frozen=True)
class Strip:
    """One launch: its samples in milliseconds, and a word when something disturbed it."""

    samples: Sequence[float]
    disturbed: str = ""


def strips(
    launches: Sequence[Strip], interval: tuple[float, float], colour: int, x_title: str, label: str, width: int
) -> str:
    """A row a launch: dots are iterations, the box holds the middle half, its line is the median.

    `interval` is shaded: where the median of all launches lies. Samples far beyond the rest are
    counted at the right edge, because one of them would squeeze the others together.
    """
    left, right = 76.0, 40.0
    height = _TOP + _ROW * len(launches) + _BOTTOM
    last = max(float(np.percentile(s.samples, 97)) for s in launches)
    first = min(min(s.samples) for s in launches)
    low, high = svg.padded([first, last, *interval], 0.06)
    x = Scale(max(low, 0.0), high, left, width - right)
    bottom = _TOP + _ROW * len(launches)
    parts = [svg.rect(x(interval[0]), _TOP, max(x(interval[1]) - x(interval[0]), 1), bottom - _TOP, "band")]
    for value in svg.ticks(x.low, x.high, 8 if width > 500 else 4):
        parts += [
            svg.line(x(value), _TOP, x(value), bottom + 5, "grid"),
            svg.text(x(value), bottom + 18, f"{value:g}", "axis", "middle"),
        ]
    parts.append(svg.text((left + width - right) / 2, height - 6, x_title, "axis strong", "middle"))
    for number, strip in enumerate(launches):
        middle = _TOP + _ROW * (number + 0.5)
        parts.append(_row(number + 1, strip, middle, x))
    return svg.document(width, height, label, [svg.group(parts, css=f"c{colour % svg.COLOURS}")])


def _row(number: int, strip: Strip, middle: float, x: Scale) -> str:
    low, half, high = (float(v) for v in np.percentile(strip.samples, [25, 50, 75]))
    name = f"{'⚠ ' if strip.disturbed else ''}launch {number}"
    shapes = [
        svg.text(0, middle + 4, name, "axis"),
        svg.rect(x(low), middle - 9, max(x(high) - x(low), 1), 18, "box"),
        _dots([v for v in strip.samples if v <= x.high], middle, x),
        svg.line(x(half), middle - 11, x(half), middle + 11, "median"),
    ]
    beyond = sum(v > x.high for v in strip.samples)
    if beyond:
        shapes.append(svg.text(x.end + 4, middle + FONT / 3, f"▸ {beyond}", "axis"))
    title = (
        f"launch {number}: median {half:.2f} ms, middle half {low:.2f} to {high:.2f}, "
        f"slowest {max(strip.samples):.2f}, {len(strip.samples)} samples"
    )
    return svg.group(shapes, f"{title}; {strip.disturbed}" if strip.disturbed else title)


def _dots(samples: Sequence[float], middle: float, x: Scale) -> str:
    """One path of zero-length round strokes: a tenth of the bytes of as many circles."""
    shown = samples[:: math.ceil(len(samples) / _DOTS) or 1]
    # Spread over the row by position, not at random: the same data gives the same file.
    moves = "".join(f"M{x(v):.1f} {middle + (i * 7 % 15) - 7:.0f}h0" for i, v in enumerate(shown))
    return f'<path d="{moves}" class="dots"/>'
