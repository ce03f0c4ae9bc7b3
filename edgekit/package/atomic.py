"""Folders that appear whole or not at all. Standard library only.

A package that is there is replaced in one step: the system exchanges it with the new one. Where the file
system cannot, it is set aside first, and a kill between the two steps costs nothing either: the next
process that writes there puts it back (`staging.sweep`).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import ConversionError
from edgekit.system import staging

MANIFEST = "manifest.json"  # what tells a package from any other folder
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
# Old kernels, file systems that do not exchange, sandboxes that forbid what they do not know.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def check_replaceable(out: Path) -> None:
    """Raises ConversionError when `out` is something that is not a package."""
    if out.exists() and not _is_package(out):
        raise ConversionError(
            f"{out} exists and is not an edgekit package",
            "edgekit replaces only packages",
            "choose another --out, or remove it",
        )
    if any(parent.is_file() for parent in out.parents):
        raise ConversionError(f"{out} cannot be written", "part of that path is a file", "choose another --out")


def check_writable(folder: Path) -> None:
    """Raises ConversionError when nothing can be written to `folder`, which need not be there yet. Writes nothing."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = f"{there} is {'read-only here' if there.is_dir() else 'a file'}"
        raise ConversionError(f"{folder} cannot be written", why, "choose another --out")


def _is_package(folder: Path) -> bool:
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        return str(json.loads(text).get("schema", "")).startswith("edgekit.package/")
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def new_folder(out: Path, durable: bool = True) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends well, and else vanishes.

    Only an edgekit package is ever replaced, and at every moment either it or the new one is there,
    whole; `durable`: after a power cut, too, as far as the disk keeps what it says it has written.
    Raises ConversionError when the disk is full or the place cannot be written.
    """
    staging.sweep(out.parent, out.name)
    check_replaceable(out)
    temporary: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = staging.new_folder(out)
        os.chmod(temporary, 0o755)
        yield temporary
        if durable:
            staging.flush(temporary)
        _put(temporary, out)
        if durable:
            staging.flush_names(out.parent)
    except OSError as error:
        raise ConversionError(
            f"{out} cannot be written",
            f"{error.strerror or error}",
            "free some space or choose another --out; nothing was left behind",
        ) from error
    finally:
        if temporary is not None:
            staging.remove(temporary)


def _put(new: Path, out: Path) -> None:
    """`new` becomes `out`; what was there is `new` then, or gone."""
    if not os.path.lexists(out):
        try:
            os.rename(new, out)
            return
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
                raise  # else another process put its own there meanwhile
    try:
        exchange(new, out)
        return
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    retired = out.with_name(staging.name(out.name, old=True))
    os.rename(out, retired)
    try:
        os.rename(new, out)
    except BaseException:  # a signal, too
        if not os.path.lexists(out):
            os.rename(retired, out)  # what was there comes back
        raise
    staging.discard_retired(retired)


def exchange(one: Path, other: Path) -> None:
    """Both change their names in one step. Raises OSError, with one of `_CANNOT` where that is not
    possible."""
    here, name = (-2, "renameatx_np") if sys.platform == "darwin" else (-100, "renameat2")
    try:
        import ctypes

        if os.name != "posix":
            raise AttributeError(name)
        call = getattr(ctypes.CDLL(None, use_errno=True), name)
    except (ImportError, AttributeError, OSError):  # not in this C library; Pythons without ctypes
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if call(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(_EXCHANGE)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(one), None, str(other))
