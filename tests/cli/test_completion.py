"""What Tab completes, as a shell asks for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def completed(words: str, folder: Path) -> str:
    """What `bash` is told for a line of which the last word is being typed."""
    line = f"edgekit {words}"
    return subprocess.run(
        [sys.executable, "-c", "from edgekit.cli.main import main; main()"],
        cwd=folder,
        text=True,
        check=True,
        capture_output=True,
        env={
            "_EDGEKIT_COMPLETE": "bash_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
            "PATH": "",
            "HOME": str(folder),
        },
    ).stdout


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("con", "plain,convert"),
        ("convert yolo", "file,yolo"),
        ("convert a.pt --calibration ph", "file,ph"),
        ("convert a.pt -o di", "file,di"),
        ("inspect di", "file,di"),
        ("detect dist/a photo", "file,photo"),
        ("convert a.pt -t rasp", "plain,raspberry-pi-5"),
        ("convert a.pt -t ./own", "file,./own"),
        ("convert a.pt -p w8", "plain,w8a8"),
        ("convert a.pt -t tflite -p w8", "plain,w8a16"),
        ("profile dist/a -d loc", "plain,local"),
        ("convert a.pt --eval-i", "plain,--eval-images"),
    ],
)
def test_tab(words: str, found: str, tmp_path: Path) -> None:
    assert found in completed(words, tmp_path).splitlines()
