"""What may be asked of detectors."""

from __future__ import annotations

from edgekit.options import Option
from edgekit.tasks.image_options import CALIBRATION_IMAGES, EVAL_IMAGES, FLOAT_LAYERS, READING

OPTIONS = (
    *READING,
    Option("decoder", "How the outputs of an ONNX or torch source are laid out, when it cannot be told.", "reading"),
    Option(
        "reference",
        "Another form of the same model to state the difference from.",
        "judging",
        metavar="MODEL",
        file=True,
    ),
    CALIBRATION_IMAGES,
    EVAL_IMAGES,
    FLOAT_LAYERS,
    Option(
        "simulated_images",
        "Images to run in a simulator, at seconds each, or at AI Hub.",
        "judging",
        int,
        minimum=1,
        default=8,
        packages="packages that run in a simulator",
        simulated=True,
    ),
)
