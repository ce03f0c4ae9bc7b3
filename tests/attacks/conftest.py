"""Copies of packages, to be changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def text(text_packages: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(text_packages["fp32"], tmp_path / "text")
    return tmp_path / "text"


@pytest.fixture
def detector(packages: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(packages["fp32"], tmp_path / "detector")
    return tmp_path / "detector"
