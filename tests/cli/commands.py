"""What the command line tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit.cli.verbs import VERBS
from tests.conftest import Ran
from tests.data import SHAPES

Edgekit = Callable[..., Ran]

SOURCE = SHAPES / "shapes.safetensors"
IMAGE = SHAPES / "eval" / "images" / "9002-0000.jpg"

# The least that makes a w8a8 package: nobody would ship it, and it takes seconds.
HASTY = (
    "-p",
    "w8a8",
    "--image-size",
    96,
    "--calibration",
    SHAPES / "calibration",
    "--calibration-images",
    2,
    "--eval",
    SHAPES / "eval",
    "--eval-images",
    4,
    "--float-layers",
    0,
)


EVERY_VERB = [*VERBS, "hub-emulator"]  # that one of a distribution of its own, which `make test` installs


def good_commands(package: Path, folder: Path, text: Path | None = None) -> dict[str, list[object]]:
    """For each verb a quick command line that succeeds. What it writes goes to `folder`. `text`: a
    package of a language model."""
    packed = folder / "example.edgepkg"
    return {
        "convert": ["convert", SOURCE, "-o", folder],
        "inspect": ["inspect", package],
        "verify": ["verify", package],
        "pack": ["pack", package, "-o", packed],
        "unpack": ["unpack", packed, "-o", folder],
        "generate": ["generate", text, "-p", "Once", "-n", 3],
        "chat": ["chat", text, "-n", 3],
        "serve": ["serve", text, "--port", 0],
        "detect": ["detect", package, IMAGE],
        "profile": ["profile", package, "-d", "null:12", "--no-record"],
        "compare": ["compare", package, package, "-d", "null:12"],
        "report": ["report", package, "-o", folder / "report.html"],
        "targets": ["targets"],
        "backends": ["backends"],
        "devices": ["devices"],
        "hub-emulator": ["hub-emulator", "--state", folder / "hub", "true"],
        "doctor": ["doctor"],
    }


def manifest(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((package / "manifest.json").read_text(encoding="utf-8"))
    return found


def receipt(package: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((package / "receipt.json").read_text(encoding="utf-8"))
    return found


def measured(receipt: dict[str, Any], group: str) -> dict[str, dict[str, Any]]:
    """The measurements of one group, by name."""
    return {m["name"]: m for m in receipt["measurements"] if m["group"] == group}
