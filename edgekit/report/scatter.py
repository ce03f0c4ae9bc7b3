"""Plot: quality against latency, the package's size as the area of a bubble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.report import svg
from edgekit.report.svg import FONT, Scale

Box = tuple[float, float, float, float]  # left, top, right, bottom
_RIGHT, _TOP, _BOTTOM = 14, 14, 48


@dataclass(frozen=True)
class Point:
    """One package. `label` is written beside its bubble, a line each; `title` shows on hover."""

    label: tuple[str, ...]
    title: str
    x: float
    y: float
    size: float
    colour: int
    x_interval: tuple[float, float] | None = None
    y_interval: tuple[float, float] | None = None


def scatter(points: Sequence[Point], x_title: str, y_title: str, label: str, width: int) -> str:
    """`width` in CSS pixels at which letters have their natural size: draw one for each class of screen."""
    height = round(min(width * 0.9, 440))
    x_ends = [v for p in points for v in (p.x, *(p.x_interval or ()))]
    y_low, y_high = svg.padded([v for p in points for v in (p.y, *(p.y_interval or ()))])
    y_ticks = svg.ticks(y_low, y_high, 6)
    names = [f"{t:g}" for t in y_ticks]
    left = max(map(svg.width_of, names)) + 12
    # From zero: a distance on this axis is then a ratio of speeds. Room on the right for labels.
    x = Scale(0.0, max(x_ends) * 1.25, left, width - _RIGHT)
    y = Scale(y_low, y_high, height - _BOTTOM, _TOP + FONT)
    parts = [svg.text(0, FONT, y_title, "axis strong")]
    for value, name in zip(y_ticks, names):
        parts += [
            svg.line(left, y(value), width - _RIGHT, y(value), "grid"),
            svg.text(left - 6, y(value) + 4, name, "axis", "end"),
        ]
    for value in svg.ticks(0.0, x.high, 7 if width > 500 else 4):
        parts += [
            svg.line(x(value), y.start, x(value), y.start + 5, "tick"),
            svg.text(x(value), y.start + 18, f"{value:g}", "axis", "middle"),
        ]
    parts += [
        svg.line(left, y.start, width - _RIGHT, y.start, "tick"),
        svg.text((left + width - _RIGHT) / 2, height - 8, x_title, "axis strong", "middle"),
    ]
    largest = max(p.size for p in points) or 1.0
    radii = [max(math.sqrt(p.size / largest) * width * 0.035, 2.5) for p in points]
    labels = _place_labels(points, radii, x, y, width)
    # Large ones first, so that none hides a small one.
    for i in sorted(range(len(points)), key=lambda i: -radii[i]):
        parts.append(_mark(points[i], radii[i], x, y))
    parts += labels
    return svg.document(width, height, label, parts)


def _mark(point: Point, radius: float, x: Scale, y: Scale) -> str:
    cx, cy = x(point.x), y(point.y)
    shapes = [f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:.1f}" class="bubble"/>']
    if point.x_interval:
        low, high = (x(v) for v in point.x_interval)
        shapes.append(_error_bar(low, cy, high, cy))
    if point.y_interval:
        low, high = (y(v) for v in point.y_interval)
        shapes.append(_error_bar(cx, low, cx, high))
    shapes.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="2" class="dot"/>')
    return svg.group(shapes, point.title, f"c{point.colour % svg.COLOURS}")


def _error_bar(x1: float, y1: float, x2: float, y2: float) -> str:
    cap_x, cap_y = (0.0, 4.0) if y1 == y2 else (4.0, 0.0)
    return (
        svg.line(x1, y1, x2, y2, "error")
        + svg.line(x1 - cap_x, y1 - cap_y, x1 + cap_x, y1 + cap_y, "error")
        + svg.line(x2 - cap_x, y2 - cap_y, x2 + cap_x, y2 + cap_y, "error")
    )


def _place_labels(points: Sequence[Point], radii: Sequence[float], x: Scale, y: Scale, width: int) -> list[str]:
    """Each label where it covers least of the bubbles, the error bars and the labels before it."""
    taken: list[Box] = []
    for point, radius in zip(points, radii):
        cx, cy = x(point.x), y(point.y)
        taken.append((cx - radius, cy - radius, cx + radius, cy + radius))
        if point.y_interval:
            low, high = (y(v) for v in point.y_interval)
            taken.append((cx - 3, high, cx + 3, low))
    parts = []
    for point, radius in zip(points, radii):
        lines = [svg.shortened(part, width * 0.36) for part in point.label]
        wide, high = max(map(svg.width_of, lines)), len(lines) * (FONT + 2)
        cx, cy = x(point.x), y(point.y)
        box = min(
            _spots(cx, cy, radius, wide, high),
            key=lambda b: _cost(b, taken, width - 2, x.start + 2, y) + _gap(b, cx, cy, radius),
        )
        taken.append((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 4))
        rows = [
            svg.text(box[0], box[1] + FONT + i * (FONT + 2) - 1, part, "label" if i else "label strong")
            for i, part in enumerate(lines)
        ]
        if _gap(box, cx, cy, radius) > 14:
            rows.append(_leader(box, cx, cy, radius))
        parts.append(svg.group(rows, point.title, f"c{point.colour % svg.COLOURS}"))
    return parts


def _spots(cx: float, cy: float, radius: float, wide: float, high: float) -> list[Box]:
    """Right of the bubble first, then left, above and below, then further off."""
    spots = []
    for gap in (6.0, 6.0 + high, 12.0 + 2 * high):
        for shift in (0.0, -high * 0.7, high * 0.7, -high * 1.5, high * 1.5, -high * 2.4, high * 2.4):
            for left in (cx + radius + 6, cx - radius - 6 - wide):
                top = cy - high / 2 + shift
                spots.append((left, top, left + wide, top + high))
        for top in (cy - radius - gap - high, cy + radius + gap):
            spots.append((cx - wide / 2, top, cx + wide / 2, top + high))
    return spots


def _cost(box: Box, taken: Sequence[Box], right: float, left: float, y: Scale) -> float:
    outside = max(box[2] - right, 0) + max(left - box[0], 0) + max(y.end - box[1], 0) + max(box[3] - y.start, 0)
    covered = sum(
        max(min(box[2], other[2]) - max(box[0], other[0]), 0) * max(min(box[3], other[3]) - max(box[1], other[1]), 0)
        for other in taken
    )
    return outside * 1000 + covered * 3


def _nearest(box: Box, cx: float, cy: float) -> tuple[float, float]:
    return min(max(cx, box[0]), box[2]), min(max(cy, box[1]), box[3])


def _gap(box: Box, cx: float, cy: float, radius: float) -> float:
    """Pixels between a bubble and its label; the nearer, the clearer whose label it is."""
    px, py = _nearest(box, cx, cy)
    return math.hypot(px - cx, py - cy) - radius


def _leader(box: Box, cx: float, cy: float, radius: float) -> str:
    px, py = _nearest(box, cx, cy)
    share = radius / math.hypot(px - cx, py - cy)
    return svg.line(cx + (px - cx) * share, cy + (py - cy) * share, px, py, "leader")
