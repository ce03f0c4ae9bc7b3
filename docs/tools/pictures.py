"""Draws the pictures of README.md: a terminal of a real run, and the report on it. `make pictures` runs it.

    python docs/tools/pictures.py

Needs rich and a Chromium (its command in CHROMIUM, else the usual names).
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
COLUMNS = 80
SHAPES = ROOT / "samples" / "shapes"
IMAGES = "256"  # enough to tell whether 8 bits lose accuracy
COMMANDS = (
    "edgekit convert shapes.safetensors -t cpu -t tflite -p fp32 -p w8a8 --calibration calibration --eval eval",
    "edgekit detect dist/shapes-tflite-w8a8 photo.jpg",
)
PACKAGES = " ".join(
    f"dist/shapes-{target}-{precision}" for target in ("cpu", "tflite") for precision in ("fp32", "w8a8")
)
THEME = TerminalTheme(
    (13, 17, 23),
    (201, 209, 217),
    [
        (72, 79, 88),
        (255, 123, 114),
        (63, 185, 80),
        (210, 153, 34),
        (88, 166, 255),
        (188, 140, 255),
        (57, 197, 207),
        (177, 186, 196),
    ],
)
# rich's own page with the fonts of the reader's system: a picture loads nothing from elsewhere
PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" class="rich-terminal" viewBox="0 0 {width} {height}" role="img">
<title>edgekit converts a detector and finds shapes in a picture</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: {char_height}px;
  line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def run(line: str, folder: Path) -> str:
    """What a command prints in a terminal of 80 columns, without lines of progress that others replaced."""
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "EDGEKIT_STORE": str(folder / "profiles.sqlite")}
    environment.pop("NO_COLOR", None)
    ran = subprocess.run(line.split(), cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    if ran.returncode:
        sys.exit(f"{line}\n{ran.stdout}{ran.stderr}")
    return ran.stdout.strip("\n")


def terminal(lines: list[tuple[str, str]]) -> str:
    """An SVG of commands and their outputs."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, output in lines:
        console.print(Text.assemble(("$ ", "green"), (command, "bold")), soft_wrap=False)
        console.print(Text.from_ansi(output))
        console.print()
    svg = console.export_svg(title="edgekit", theme=THEME, code_format=PAGE, unique_id="terminal")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def screenshot(page: Path, picture: Path) -> None:
    names = [os.environ.get("CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"]
    browser = next((b for n in names if n and (b := shutil.which(n))), None)
    if browser is None:
        sys.exit("There is no Chromium here: set CHROMIUM to its command")
    size = "--window-size=1280,860"
    options = ["--headless", "--no-sandbox", "--hide-scrollbars", size, f"--screenshot={picture}"]
    subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True)


def main() -> int:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for source in ("shapes.safetensors", "calibration"):
            (folder / source).symlink_to(SHAPES / source)
        (folder / "photo.jpg").symlink_to(SHAPES / "eval" / "images" / "9002-0015.jpg")
        draw = [
            sys.executable,
            str(SHAPES / "draw.py"),
            "--out",
            str(folder / "eval"),
            "--count",
            IMAGES,
            "--seed",
            "9002",
        ]
        subprocess.run(draw, check=True)
        outputs = [(line, run(line, folder)) for line in COMMANDS]
        (PICTURES / "terminal.svg").write_text(terminal(outputs), "utf-8")
        run(f"edgekit profile {PACKAGES} --launches 5", folder)
        run(f"edgekit report {PACKAGES} -o report.html", folder)
        screenshot(folder / "report.html", PICTURES / "report.png")
    for picture in sorted(PICTURES.iterdir()):
        print(picture.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
