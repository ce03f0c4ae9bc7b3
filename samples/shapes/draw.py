"""Draws the images of the sample detector: shapes and digits on cluttered backgrounds.

    python samples/shapes/draw.py --out DIR --count N --seed S

writes DIR/images/*.jpg and DIR/instances.json (COCO). Image `i` of seed `s` depends on nothing
else. Each box is the extent of the polygon that was drawn, clipped to the image: exact, also where
another shape covers part of it. Two pairs of classes are there to catch mistakes of the code that
runs the detector: warm and cool discs differ only in colour (red and blue swapped?), and a `two`
is a mirrored `five` (image flipped?).
"""

from __future__ import annotations

import argparse
import colorsys
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

NAMES = ("warm disc", "cool disc", "ring", "square", "triangle", "star", "two", "five")
SIZES = ((320, 320), (320, 320), (320, 240), (400, 300), (240, 320))  # width, height
SMALLEST, LARGEST = 8.0, 160.0

Polygon = np.ndarray  # float64 (V, 2): x, y
Random = np.random.Generator

_DIGIT = np.array(
    [(0, 0), (3, 0), (3, 3), (1, 3), (1, 4), (3, 4), (3, 5), (0, 5), (0, 2), (2, 2), (2, 1), (0, 1)], float
) - (1.5, 2.5)


@dataclass(frozen=True)
class Drawing:
    """An image, uint8 (H, W, 3), and what is on it: boxes float64 (M, 4), x y w h, and classes."""

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


def draw(rng: Random, width: int, height: int, crowd: int = 9) -> Drawing:
    """One image with 1 to `crowd` labelled shapes, some overlapping, and unlabelled clutter."""
    canvas = _background(rng, width, height)
    for _ in range(rng.integers(0, 7)):
        _paint(canvas, rng, _line(rng, width, height), None, _colour(rng))
    for _ in range(rng.integers(0, 4)):
        _paint(canvas, rng, _place(rng, _blob(rng), _size(rng), width, height), None, _colour(rng))
    boxes: list[np.ndarray] = []
    classes: list[int] = []
    for _ in range(rng.integers(1, crowd + 1)):
        kind = int(rng.integers(len(NAMES)))
        for _ in range(8):  # look for a place where nothing is covered too much
            outline, hole = _shape(rng, NAMES[kind])
            both = outline if hole is None else np.concatenate((outline, hole))
            both = _place(rng, both, _size(rng), width, height)
            outline, hole = both[: len(outline)], None if hole is None else both[len(outline) :]
            box = _extent(outline, width, height)
            if box is not None and all(_covered(box, other) < 0.4 for other in boxes):
                _paint(canvas, rng, outline, hole, _contrasting(rng, canvas, box, NAMES[kind]))
                boxes.append(box)
                classes.append(kind)
                break
    if rng.random() < 0.3:  # a wire in front of everything
        _paint(canvas, rng, _line(rng, width, height), None, _colour(rng))
    return Drawing(_camera(rng, canvas), np.array(boxes).reshape(-1, 4), np.array(classes, int))


def _background(rng: Random, width: int, height: int) -> np.ndarray:
    """A gradient between two colours, cloud-like texture, sometimes stripes. float32 (H, W, 3)."""
    angle = rng.uniform(0, 2 * np.pi)
    x, y = np.meshgrid(np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height))
    ramp = (0.5 + 0.7 * (x * np.cos(angle) + y * np.sin(angle))).clip(0, 1)[..., None]
    first = _colour(rng)
    second = first + (_colour(rng) - first) * rng.uniform(0, 0.7)
    canvas = first + (second - first) * ramp
    for cells in (rng.integers(3, 9), rng.integers(10, 40)):
        cloud = rng.normal(0, rng.uniform(0, 22), (cells, cells)).astype(np.float32)
        smooth = Image.fromarray(cloud).resize((width, height), Image.BICUBIC)
        canvas += np.asarray(smooth)[..., None]
    if rng.random() < 0.25:
        wave = np.sin((x * np.sin(angle) - y * np.cos(angle)) * rng.uniform(40, 160))
        canvas += (np.sign(wave) if rng.random() < 0.5 else wave)[..., None] * rng.uniform(4, 18)
    return canvas.astype(np.float32)


def _colour(rng: Random) -> np.ndarray:
    return rng.uniform(10, 245, 3)


def _contrasting(rng: Random, canvas: np.ndarray, box: np.ndarray, name: str) -> np.ndarray:
    """A colour for this class that can be told from what the shape will cover."""
    x, y, w, h = box.astype(int)
    behind = canvas[y : y + h + 1, x : x + w + 1].mean((0, 1))
    hues = {"warm disc": (-0.04, 0.13), "cool disc": (0.5, 0.7)}.get(name, (0.0, 1.0))
    palest = 0.45 if "disc" in name else 0.0
    colour = behind
    for _ in range(20):
        hue, saturation = rng.uniform(*hues) % 1, rng.uniform(palest, 1)
        colour = np.array(colorsys.hsv_to_rgb(hue, saturation, rng.uniform(0.3, 1))) * 255
        if np.abs(colour - behind).sum() > 90:
            break
    return colour


def _shape(rng: Random, name: str) -> tuple[Polygon, Polygon | None]:
    """Outline and hole of one shape, around the origin, of any scale."""
    if name in ("warm disc", "cool disc"):
        return _regular(48), None
    if name == "ring":
        return _regular(48), _regular(48) * rng.uniform(0.4, 0.75)
    if name == "square":
        return np.array([(-1.0, -1), (1, -1), (1, 1), (-1, 1)]), None
    if name == "triangle":
        return _regular(3) * (1, rng.uniform(0.8, 1.3)), None
    if name == "star":
        radius = np.where(np.arange(10) % 2, rng.uniform(0.4, 0.55), 1.0)
        return _regular(10) * radius[:, None], None
    return _DIGIT * ((1, 1) if name == "two" else (-1, 1)), None


def _regular(corners: int) -> Polygon:
    turn = np.arange(corners) * 2 * np.pi / corners
    return np.stack((np.sin(turn), -np.cos(turn)), 1)


def _blob(rng: Random) -> Polygon:
    """Clutter: a crooked polygon, or a plus."""
    if rng.random() < 0.4:
        arm = rng.uniform(0.15, 0.4)
        return np.array(
            [
                (-arm, -1),
                (arm, -1),
                (arm, -arm),
                (1, -arm),
                (1, arm),
                (arm, arm),
                (arm, 1),
                (-arm, 1),
                (-arm, arm),
                (-1, arm),
                (-1, -arm),
                (-arm, -arm),
            ]
        )
    corners = int(rng.integers(5, 9))
    return _regular(corners) * rng.uniform(0.6, 1, (corners, 1)) * (1, rng.uniform(0.3, 0.8))


def _size(rng: Random) -> float:
    """The longer side of a shape's box: as many between 8 and 16 pixels as between 80 and 160."""
    return float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))


def _place(rng: Random, points: Polygon, size: float, width: int, height: int) -> Polygon:
    """Stretch, turn, scale to `size` and move; a shape may stick out of the image by a quarter."""
    digit = len(points) == len(_DIGIT) and np.abs(points).max() == 2.5
    turn = rng.uniform(-0.6, 0.6) if digit else rng.uniform(0, 2 * np.pi)
    points = points * (1, rng.uniform(0.8, 1.25))
    points = points @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    low, high = points.min(0), points.max(0)
    size = min(size, 0.8 * min(width, height))
    points = (points - (low + high) / 2) * size / (high - low).max()
    reach = np.maximum((points.max(0) - points.min(0)) / 4, 1)
    return points + rng.uniform(reach, np.array((width, height)) - reach)


def _line(rng: Random, width: int, height: int) -> Polygon:
    ends = rng.uniform(-20, 20 + np.array((width, height)), (2, 2))
    along = ends[1] - ends[0]
    across = np.array((-along[1], along[0])) / (np.hypot(*along) + 1e-6) * rng.uniform(0.5, 2)
    return np.array((ends[0] - across, ends[0] + across, ends[1] + across, ends[1] - across))


def _extent(outline: Polygon, width: int, height: int) -> np.ndarray | None:
    """x y w h of the part inside the image; None when too little is."""
    inside = outline
    for axis, bound, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
        inside = _cut(inside, (inside[:, axis] - bound) * sign)
        if len(inside) == 0:
            return None
    low, size = inside.min(0), np.ptp(inside, 0)
    return np.concatenate((low, size)) if size.prod() > 0.6 * np.ptp(outline, 0).prod() else None


def _cut(points: Polygon, depth: np.ndarray) -> Polygon:
    """The part of a polygon where `depth`, linear and known at its corners, is not negative."""
    following, next_depth = np.roll(points, -1, 0), np.roll(depth, -1)
    crossing = (depth < 0) != (next_depth < 0)
    share = np.where(crossing, depth / np.where(crossing, depth - next_depth, 1), 0)[:, None]
    pairs = np.stack((points, points + share * (following - points)), 1)
    return pairs[np.stack((depth >= 0, crossing), 1)]


def _covered(a: np.ndarray, b: np.ndarray) -> float:
    """The part of the smaller box that both share."""
    shared = np.minimum(a[:2] + a[2:], b[:2] + b[2:]) - np.maximum(a[:2], b[:2])
    return float(shared.clip(0).prod() / min(a[2:].prod(), b[2:].prod()))


def _paint(canvas: np.ndarray, rng: Random, outline: Polygon, hole: Polygon | None, colour: np.ndarray) -> None:
    """Fill the outline but not the hole: antialiased, shaded, a little transparent at times."""
    height, width = canvas.shape[:2]
    x0, y0 = np.floor(outline.min(0)).clip(0, (width, height)).astype(int)
    x1, y1 = np.ceil(outline.max(0)).clip(0, (width, height)).astype(int)
    if x1 <= x0 or y1 <= y0:
        return
    fine = 4 if max(x1 - x0, y1 - y0) < 100 else 2
    mask = Image.new("L", (int(x1 - x0) * fine, int(y1 - y0) * fine))
    pen = ImageDraw.Draw(mask)
    for points, value in ((outline, 255), (hole, 0)):
        if points is not None:  # Pillow counts pixel centres, we count from pixel corners
            pen.polygon([tuple(p) for p in (points - (x0, y0)) * fine - 0.5], fill=value)
    alpha = np.asarray(mask.reduce(fine), np.float32)[..., None] / 255 * rng.uniform(0.8, 1)
    shade = np.linspace(*rng.uniform(-25, 25, 2), y1 - y0)[:, None, None]
    patch = canvas[y0:y1, x0:x1]
    patch += alpha * (colour + shade - patch)


def _camera(rng: Random, canvas: np.ndarray) -> np.ndarray:
    """Blur at times, exposure, sensor noise."""
    canvas = (canvas - 128) * rng.uniform(0.7, 1.1) + 128 + rng.uniform(-20, 20)
    if rng.random() < 0.5:
        canvas = canvas + rng.normal(0, rng.uniform(0, 4), canvas.shape[:2])[..., None]
    image = Image.fromarray(canvas.clip(0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2)))
    return np.asarray(image)


def write(out: Path, count: int, seed: int) -> None:
    """A COCO-style folder of `count` images."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        drawing = draw(np.random.default_rng((seed, index)), width, height)
        name = f"{seed:04}-{index:04}.jpg"
        Image.fromarray(drawing.image).save(out / "images" / name, quality=88, optimize=True)
        images.append({"id": index + 1, "file_name": name, "width": width, "height": height})
        for box, kind in zip(drawing.boxes, drawing.classes):
            x, y, w, h = (round(float(v), 2) for v in box)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": int(kind) + 1,
                    "bbox": [x, y, w, h],
                    "area": round(w * h, 2),
                    "iscrowd": 0,
                }
            )
    coco = {
        "info": {"description": f"samples/shapes/draw.py --count {count} --seed {seed}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(NAMES)],
    }
    (out / "instances.json").write_text(json.dumps(coco) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw images of shapes with exact boxes.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=48, help="number of images")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write(options.out, options.count, options.seed)


if __name__ == "__main__":
    main()
