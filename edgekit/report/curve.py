"""Plot: latency over the minutes of a sustained launch, and where it throttled."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.devices.record import Second
from edgekit.profiling.sustained import Sustained
from edgekit.report import svg
from edgekit.report.svg import FONT, Scale

_HEIGHT, _TOP, _BOTTOM, _LEFT, _RIGHT = 200.0, 26.0, 42.0, 56.0, 16.0
_POINTS = 400  # more than these look no different and weigh more


def curve(points: Sequence[Second], summary: Sustained, colour: int, label: str, width: int) -> str:
    """A point about a second, as a line; the median once it is steady is shaded, the throttling point marked."""
    shown = points[:: math.ceil(len(points) / _POINTS)]
    times = [p.median_s * 1e3 for p in shown]
    low, high = svg.padded([0.0, *sorted(times)[: max(1, len(times) * 98 // 100)]], 0.06)
    y = Scale(max(low, 0.0), high, _HEIGHT - _BOTTOM, _TOP)
    x = Scale(0.0, max(summary.length_s, 1.0), _LEFT, width - _RIGHT)
    parts = []
    for value in svg.ticks(y.low, y.high, 4):
        parts += [
            svg.line(_LEFT, y(value), width - _RIGHT, y(value), "grid"),
            svg.text(_LEFT - 8, y(value) + FONT / 3, f"{value:g}", "axis", "end"),
        ]
    for value in svg.ticks(x.low, x.high, 8 if width > 500 else 4):
        parts.append(svg.text(x(value), _HEIGHT - _BOTTOM + 18, f"{value:g}", "axis", "middle"))
    parts.append(
        svg.text((_LEFT + width - _RIGHT) / 2, _HEIGHT - 6, "seconds; engine alone, ms", "axis strong", "middle")
    )
    steady = y(summary.steady_median_s * 1e3)
    parts.append(svg.rect(x(summary.steady_s), steady - 3, x.end - x(summary.steady_s), 6, "band"))
    moves = " ".join(
        f"{'L' if i else 'M'}{x(p.at_s):.1f} {max(y(t), _TOP):.1f}" for i, (p, t) in enumerate(zip(shown, times))
    )
    parts.append(f'<path d="{moves}" class="line"/>')
    if summary.throttled_s is not None:
        at = x(summary.throttled_s)
        near_end = at > width * 0.7
        text = svg.text(at + (-6 if near_end else 6), _TOP - 8, "throttled", "axis", "end" if near_end else "start")
        parts += [svg.line(at, _TOP - 4, at, _HEIGHT - _BOTTOM, "median"), text]
    return svg.document(width, _HEIGHT, label, [svg.group(parts, css=f"c{colour % svg.COLOURS}")])
