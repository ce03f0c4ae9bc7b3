"""Which files of a folder are its images, and what is left out."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edgekit.data.images.records import listed
from edgekit.errors import DataError

READ = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
# images as well, which OpenCV or Pillow may or may not read, and each differently
_OTHERS = {".gif", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".dng", ".cr2", ".nef", ".arw", ".jfif", ".svg"}
_FOLDERS = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN"}  # what systems leave, besides dot files


def images_in(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The images at any depth, by name, and what was left out, in sentences.

    Raises DataError when there are none.
    """
    images: list[Path] = []
    hidden = 0
    others: Counter[str] = Counter()
    for path, is_hidden in files_in(folder):
        suffix = path.suffix.lower()
        if is_hidden:
            hidden += suffix in READ | _OTHERS
        elif suffix in READ:
            images.append(path)
        elif suffix in _OTHERS:
            others[suffix] += 1
    left_out = [
        f"{count} {suffix} files of {folder.name} are left out: convert them to JPEG or PNG"
        for suffix, count in sorted(others.items())
    ]
    if hidden:
        left_out.append(f"{hidden} hidden image files of {folder.name} are left out")
    if not images:
        raise DataError(
            f"{folder} holds no images",
            "; ".join(left_out) or f"looked for {', '.join(sorted(READ))}",
            "pass a folder of images like those the detector will see, of any size: edgekit prepares them",
        )
    return sorted(images), tuple(left_out)


def files_in(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All files, and whether their name, or that of a folder above them, is one that is not shown."""
    for where, folders, names in os.walk(folder, followlinks=False):
        relative = Path(where).relative_to(folder).parts
        inside_hidden = any(p.startswith(".") or p in _FOLDERS for p in relative)
        folders.sort()
        for name in names:
            path = Path(where) / name
            if path.is_file():
                yield path, inside_hidden or name.startswith(".")


def check_readable(images: list[Path], folder: Path) -> None:
    """Decodes each image once, so that an unreadable one is reported before minutes of work.

    Raises DataError with the files' names.
    """
    from edgekit import progress
    from edgekit.runtime.image import read_image

    wrong: list[Path] = []
    first = ""
    for path in progress.track(images, f"checking the images of {folder.name}", len(images)):
        try:
            read_image(path)
        except DataError as error:
            wrong.append(path)
            first = first or (error.why or error.what)
    if wrong:
        raise DataError(
            f"{len(wrong)} of {len(images)} images of {folder} cannot be read: {listed(wrong, folder)}",
            first,
            "mend or remove them",
        )
