"""What may be asked of every network that takes images: of reading it, of its data, and of quantising it."""

from __future__ import annotations

from edgekit.options import Option
from edgekit.spec.values import Precision

_QUANTISED = (Precision.W8, Precision.W8A8, Precision.W8A16)

READING = (
    Option("labels", "Class names: a file with one a line, a,b,c or `coco`.", "reading", metavar="FILE", file=True),
    Option("image_size", "640, or HEIGHTxWIDTH (default: the model's own, or 640).", "reading", metavar="SIZE"),
    Option(
        "resize",
        "How images are fitted (default: as the family of the detector does).",
        "reading",
        choices=("letterbox", "letterbox-topleft", "stretch"),
    ),
    Option("color", "Channel order of the model's input.", "reading", choices=("rgb", "bgr")),
    Option("mean", "Subtracted from pixels 0..255: one number or three.", "reading"),
    Option("std", "Pixels are divided by it: one number or three.", "reading"),
)
CALIBRATION_IMAGES = Option(
    "calibration_images", "Use at most so many.", "data", int, minimum=1, default=64, needs="calibration"
)
EVAL_IMAGES = Option("eval_images", "Use at most so many (default: all).", "data", int, minimum=1, needs="eval")
FLOAT_LAYERS = Option(
    "float_layers",
    "Leave so many sensitive layers in float (default: as needed).",
    "compiling",
    int,
    minimum=0,
    packages="quantised packages: name a precision with -p",
    precisions=_QUANTISED,
)
