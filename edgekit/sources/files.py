"""What every source asks of a file: its place inside the source, its hash, and a sensible error when it
is not there."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath

from edgekit.errors import SourceError, UnsafeSourceError, no_file
from edgekit.system.documents import DocumentError, JsonObject, read_object

_ENTRIES = 20_000  # of a folder; a model's has dozens
_POINTER = b"version https://git-lfs"
_NEXT = "copy the files themselves into one folder, and look at what this link or name was for"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_sha256(paths: list[Path]) -> str:
    """One hash for several files, computed from their names and hashes in the order of names."""
    lines = sorted(f"{p.name} {sha256(p)}" for p in paths)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def existing_file(path: str) -> Path:
    file = Path(path)
    if not file.is_file():
        raise no_file("file", path)
    if file.stat().st_size == 0:
        raise SourceError(f"{file.name} is empty", "", "download or copy it again")
    check_fetched(file)
    return file


def check_fetched(path: Path) -> None:
    """Raises SourceError for the few lines that Git leaves where a large file would be."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise SourceError(
                f"{path.name} is not there itself: it is a pointer of Git LFS",
                "a clone without LFS leaves those",
                "fetch the files with `git lfs pull`, or download them",
            )


def contained(folder: Path, name: str) -> Path:
    """The place of a file that a source names, resolved before anything is opened.

    Raises UnsafeSourceError for a name or a link that leads out of the folder. The links of Hugging Face's
    cache, from `snapshots/REVISION` to `blobs`, stay inside.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or Path(name).is_absolute():
        raise UnsafeSourceError(f"{folder.name} names {ascii(name)[:120]}, outside its folder", "", _NEXT)
    try:
        root, real = folder.resolve(), (folder / name).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, a link to itself
        raise SourceError(f"{ascii(name)[:120]} in {folder.name} cannot be used", str(error)[:200]) from error
    roots = [root, *([root.parent.parent / "blobs"] if root.parent.name == "snapshots" else [])]
    if not any(real.is_relative_to(r) for r in roots):
        raise UnsafeSourceError(
            f"{name} in {folder.name} is a link that leads out of the folder",
            "a model is read from its own files",
            _NEXT,
        )
    return folder / name


def check_folder(folder: Path) -> None:
    """Checks that no link in a folder leads out of it and that it holds only files and folders, since libraries
    open what they like there. Raises UnsafeSourceError, SourceError."""
    count = 0
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(place, name)
            count += 1
            if count > _ENTRIES:
                raise SourceError(f"{folder.name} holds more than {_ENTRIES} files", "", "pass the folder of one model")
            if path.is_symlink():
                contained(folder, path.relative_to(folder).as_posix())
            elif not path.is_file() and not path.is_dir():
                raise SourceError(f"{name} in {folder.name} is no file", "", "remove it")
        folders[:] = [f for f in folders if not f.startswith(".")]  # .git and the like: nothing reads them


def json_of(path: Path, largest: int = 2**26) -> JsonObject:
    """The object in a JSON file; an empty one where there is no file. Raises SourceError."""
    if not path.is_file():
        return {}
    try:
        return read_object(path, largest)
    except DocumentError as error:
        raise SourceError(f"{path.name} of {path.parent.name} cannot be read: {error}", "", "copy it again") from error
