"""Runs the commands of a page, in order, in a folder that holds what they name.

    python -m tests.docs.run [PAGE…]       # all pages, in one folder: some fifteen minutes

The names stand for what the repository has: `yolov9-t.pt` is the sample detector, `DATA` its pictures, a language model
the sample's or, where real weights are at hand, a trained Llama. Added to conversions are options that make them quick,
and `--allow`, since these pictures are too few to tell. What needs a container engine, an installation or an account
is left to other tests, and is printed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.data import ROOT, SHAPES
from tests.docs.pages import Command, blocks, commands, name_of, outputs
from tests.language import stories, stories_text

_LEFT_OUT = ("source", "make", "pip", "docker", "scp", "ssh", "sudo", "git", "adb", "journalctl")
_ELSEWHERE = (
    "aihub",
    "ssh:",
    "adb:",
    "-d web",
    "pi5",
    "setup web",
    "my-phone",
    "devices adb",
)  # devices, which other tests stand in for
_QUICK = ["--launches", "0", "--allow", "accuracy", "--force"]
_SECONDS = 600


def stage(folder: Path) -> None:
    """What the pages' commands name."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(SHAPES / "shapes.safetensors"), folder / "yolov9-t.pt")
    for name, place in (
        ("samples", ROOT / "samples"),
        ("benchmarks", ROOT / "benchmarks"),
        ("DATA", SHAPES / "eval"),
        ("coco", SHAPES / "eval"),
        ("photos", SHAPES / "calibration"),
        ("calibration", SHAPES / "calibration"),
        ("eval", SHAPES / "eval"),
        ("shapes.safetensors", SHAPES / "shapes.safetensors"),
        ("relief", ROOT / "samples" / "relief" / "model"),
        ("heldout.txt", ROOT / "samples" / "relief" / "heldout.txt"),
        ("dog.jpg", SHAPES / "eval" / "images" / "9002-0015.jpg"),
    ):
        (folder / name).symlink_to(place)
    (folder / "yolov9-t-cpu-w8a8").symlink_to(folder / "dist" / "yolov9-t-cpu-w8a8")  # as copied to a device
    (recipe,) = blocks(ROOT / "docs" / "recipes.md", "toml")
    (folder / "models.toml").write_text(recipe, encoding="utf-8")
    try:
        llama, text = stories(), stories_text()
    except pytest.skip.Exception:
        return
    (folder / "models").mkdir()
    for name in ("SmolLM2-135M-Instruct", "models/stories260K"):
        (folder / name).symlink_to(llama)
    for name in ("text.txt", "valid.txt"):
        (folder / name).symlink_to(text)


def run_page(page: Path, folder: Path) -> list[str]:
    """What failed, with what it printed. Commands of language models are left out where no real weights are at hand."""
    failed = []
    for command in commands(page):
        parts = shlex.split(command.line)
        if (
            Path(parts[0]).name in _LEFT_OUT
            or any(w in command.line for w in _ELSEWHERE)
            or not _at_hand(parts, folder)
        ):
            print(f"left out: {command.line}", file=sys.stderr)
            continue
        said = _run(command, folder, outputs(page).get(command.line, ""))
        print(f"{'failed' if said else 'ran'}: {command.line}", file=sys.stderr)
        if said:
            failed.append(f"{command.line}\n{said}")
    return failed


def _at_hand(parts: list[str], folder: Path) -> bool:
    if Path(parts[0]).name == "edgekit" and parts[1] == "chat":
        return False  # the Llama at hand has no chat template
    needs = any("SmolLM2" in p or "stories" in p for p in parts)
    return not needs or (folder / "models").exists()


def _run(command: Command, folder: Path, expected: str) -> str:
    """Nothing when it went well and printed what the page says. `serve` is ended once it listens; `chat` reads the end
    of its input."""
    line = re.sub(r"--context \d+", "--context 512", command.line)  # all that the Llama at hand was trained for
    line = (
        line.replace("~/edgekit/bin/", "").replace("~/yolov9", "dist/yolov9").replace("~/Smol", "dist/Smol")
    )  # as they lie on a board
    if line.startswith("edgekit convert"):
        detector = "yolov9" in line or "shapes" in line
        line += " " + shlex.join([*_QUICK, *(["--eval-images", "4"] if detector and "--eval" in line else [])])
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EDGEKIT_STORE": str(folder / "profiles.sqlite"),
        "EDGEKIT_QUIET": "1",
    }
    listening = line.startswith("edgekit serve")
    process = subprocess.Popen(
        ["bash", "-c", f"exec {line}" + (" --port 0" if listening else "")],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdout is not None
    if listening:
        first = process.stdout.readline()
        process.terminate()
        process.wait(60)
        return "" if "http://127.0.0.1:" in first else first
    said, _ = process.communicate(timeout=_SECONDS)
    if process.returncode or expected not in said:
        return f"exit code {process.returncode}\n{said}"
    return ""


def main() -> int:
    chosen = [Path(a).resolve() for a in sys.argv[1:]] or [
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        ROOT / "samples" / "relief" / "README.md",
    ]
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        stage(Path(folder))
        for page in chosen:
            print(f"== {name_of(page)}", file=sys.stderr)
            failed += run_page(page, Path(folder))
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
