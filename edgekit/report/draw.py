"""Boxes drawn on pictures."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import ConversionError, MissingError
from edgekit.runtime.detection.detector import Detection
from edgekit.system import staging
from edgekit.system.distribution import install

# Okabe and Ito's palette: told apart with any colour vision.
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def draw_boxes(
    image: np.ndarray[Any, Any],
    detections: Sequence[Detection],
    folder: Path,
    source: Path,
    taken: Collection[Path] = (),
) -> Path:
    """Write `image` (HWC uint8 RGB) with its boxes as `folder`/NAME-boxes.jpg; returns that path.

    `taken`: files that stay: every source, and the pictures of others of the same name.
    """
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise MissingError("Drawing boxes needs Pillow", "", install("images")) from error
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    size = max(12, round(min(picture.size) / 40))
    font = ImageFont.load_default(size)
    for d in reversed(detections):  # the surest box on top
        colour = _COLOURS[d.class_id % len(_COLOURS)]
        pen.rectangle(d.box, outline=colour, width=max(2, size // 6))
        text = f"{d.label} {d.score:.2f}"
        left, top, right, bottom = pen.textbbox((d.box[0], max(d.box[1] - size - 4, 0)), text, font=font)
        pen.rectangle((left - 2, top - 2, right + 2, bottom + 2), fill=colour)
        pen.text((d.box[0], max(d.box[1] - size - 4, 0)), text, fill="black", font=font)
    target, number = folder / f"{source.stem}-boxes.jpg", 2
    while target.resolve() in taken:
        target, number = folder / f"{source.stem}-boxes-{number}.jpg", number + 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with staging.new_file(target) as temporary:
            picture.save(temporary, "JPEG", quality=92)
    except OSError as error:
        raise ConversionError(f"{target} cannot be written", str(error), "choose another --save") from error
    return target
