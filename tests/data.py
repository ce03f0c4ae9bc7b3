"""Real material outside the repository: trained weights, photographs, annotations.

Tests that need it are skipped where it is not; the project's own samples are always here.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHAPES = ROOT / "samples" / "shapes"
_FOLDERS = [Path(p) for p in (os.environ.get("EDGEKIT_TEST_DATA"), ROOT.parent / "shared" / "data") if p]


def data(path: str) -> Path:
    """A file or folder of the material; skips the test when it is not there."""
    for folder in _FOLDERS:
        if (folder / path).exists():
            return folder / path
    pytest.skip(f"{path} is not on this machine (EDGEKIT_TEST_DATA)")
