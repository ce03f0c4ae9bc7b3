"""Folders that appear whole or not at all. Standard library only."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgekit.errors import ConversionError

MANIFEST = "manifest.json"  # what tells a package from any other folder


def check_replaceable(out: Path) -> None:
    """Raises ConversionError when `out` is something that is not a package."""
    if out.exists() and not _is_package(out):
        raise ConversionError(
            f"{out} exists and is not an edgekit package",
            "edgekit replaces only packages",
            "choose another --out, or remove it",
        )
    if any(parent.is_file() for parent in out.parents):
        raise ConversionError(
            f"{out} cannot be written", "part of that path is a file", "choose another --out"
        )


def _is_package(folder: Path) -> bool:
    try:
        text = (folder / MANIFEST).read_text()
        return str(json.loads(text).get("schema", "")).startswith("edgekit.package/")
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends well, and else vanishes.

    Only an edgekit package is ever replaced. Raises ConversionError when the disk is full or the
    place cannot be written.
    """
    check_replaceable(out)
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        os.chmod(temporary, 0o755)
        yield temporary
        if out.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{out.name}.old.", dir=out.parent))
            os.replace(out, retired / "package")
            try:
                os.replace(temporary, out)
            except OSError:
                os.replace(retired / "package", out)  # what was there comes back
                raise
            finally:
                shutil.rmtree(retired, ignore_errors=True)
        else:
            os.replace(temporary, out)
    except OSError as error:
        raise ConversionError(
            f"{out} cannot be written", f"{error.strerror or error}",
            "free some space or choose another --out; nothing was left behind",
        ) from error  # fmt: skip
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
