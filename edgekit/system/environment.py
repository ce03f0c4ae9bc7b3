"""Environment variables that native libraries read once, as they are loaded.

A process that converts or runs an engine sets them, just before it loads such a library. Importing edgekit sets none:
a program that imports it may have reasons of its own for what its environment says. Standard library only.
"""

from __future__ import annotations

import os


def keep_quiet() -> None:
    """For ONNX Runtime: version 1.29 and later report sessions and models to Microsoft unless told not to. Changes the
    environment of this process, and of those that it starts; what is set already stays."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def prepare_conversion() -> None:
    """For processes that convert: `keep_quiet`, and torch's threads do not spin while they wait for each other. On cores
    that others use as well, spinning makes them many times slower."""
    keep_quiet()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
