"""Text from the command line into values: sizes, labels, colours."""

from __future__ import annotations

import math
import re
from pathlib import Path

from edgekit.cli.output import Given
from edgekit.errors import UsageError
from edgekit.sources.base import SourceOptions

COCO = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
    "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,"
    "handbag,tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,"
    "skateboard,surfboard,tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,"
    "sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,couch,potted plant,bed,"
    "dining table,toilet,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,toaster,sink,"
    "refrigerator,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)


def parse_source_options(given: Given) -> SourceOptions:
    """From the options of `edgekit convert`. Raises UsageError for what cannot be read."""
    image: Given = {k: given[k] for k in ("resize", "color") if given.get(k)}
    for name in ("mean", "std"):
        if given.get(name):
            image[name] = parse_triple(given[name], f"--{name}")
    if 0.0 in image.get("std", ()):
        raise UsageError("--std cannot be zero", "pixels are divided by it")
    return SourceOptions(
        image_size=parse_size(given["image_size"]) if given.get("image_size") else None,
        labels=parse_labels(given["labels"]) if given.get("labels") else (),
        decoder=given.get("decoder") or "",
        image=image,
        context=given.get("context"),
    )


def parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})(?:[x,](\d{1,5}))?", text.strip())
    if match is None or int(match[1]) == 0 or match[2] == "0":
        raise UsageError(f"--image-size {text} is no size", "", "write 640, or HEIGHTxWIDTH as 480x640")
    height = int(match[1])
    return height, int(match[2]) if match[2] else height


def parse_triple(text: str, option: str) -> tuple[float, float, float]:
    try:
        values = [float(v) for v in text.replace(" ", ",").split(",") if v]
    except ValueError:
        values = []
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or not all(math.isfinite(v) for v in values):
        raise UsageError(f"{option} {text} is not one number or three", "", f"write {option} 127,127,127")
    return values[0], values[1], values[2]


def parse_labels(text: str) -> tuple[str, ...]:
    if text == "coco":
        return tuple(COCO.split(","))
    path = Path(text)
    if path.is_file():
        try:
            names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise UsageError(f"--labels {text} is not a text file", str(error)) from error
        return tuple(n for n in names if n)
    if "," in text:
        return tuple(n.strip() for n in text.split(",") if n.strip())
    raise UsageError(
        f"There is no labels file {text}",
        "",
        "pass a file with one name a line, a,b,c (a single class as `face,`) or coco",
    )
