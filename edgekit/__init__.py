"""edgekit: trained detectors into measured packages for every target, each with a receipt.

    import edgekit
    edgekit.convert("yolov9-t.pt", targets=["cpu"], precisions=["w8a8"], calibration="coco/", out="dist/")

On the device: `from edgekit.runtime import load`. Nothing heavy is imported until it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Package", "convert", "load", "profile"]

if TYPE_CHECKING:
    from edgekit.conversion.pipeline import convert
    from edgekit.package import Package
    from edgekit.profiling.sampler import profile
    from edgekit.runtime import load

_HOMES = {
    "convert": "edgekit.conversion.pipeline",
    "load": "edgekit.runtime",
    "profile": "edgekit.profiling.sampler",
    "Package": "edgekit.package",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
