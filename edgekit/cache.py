"""Finished steps of conversions, by content: an interrupted conversion continues, a repeated one
is quick. Entries appear whole or not at all, and go when unused for a month. What a killed process had
begun goes when the next one starts; what a compiler crashed on stays for its month as `crash-...`."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit import progress, settings
from edgekit.errors import ConversionError, CrashError
from edgekit.package import canonical
from edgekit.system import staging

_MONTH = 30 * 24 * 3600
_unfinished: set[Path] = set()
_swept: set[Path] = set()


def key(**parts: Any) -> str:
    """A name for a step: everything its result depends on, edgekit's own code included, hashed."""
    return hashlib.sha256(canonical({**parts, "code": code_sha256(Path(__file__).parent)})).hexdigest()[:32]


# Rooms that have no part in what a conversion gives: an edit to one of them voids nothing.
_APART = ("cli", "devices", "diagnosis", "profiling", "report", "serving", "store")


@functools.cache
def code_sha256(root: Path) -> str:
    """A changed pass must not find the results of the old one, whatever the version says."""
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if name.parts[0] not in _APART:
            digest.update(name.as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def step(name: str, make: Callable[[Path], None]) -> Path:
    """The folder of the finished step `name`, made by `make(folder)` when it is not there."""
    root = settings.cache_folder() / "steps"
    done = root / name
    _sweep(root)
    if done.is_dir():
        os.utime(done)
        progress.detail(f"{name[:24]}… was made before, and is taken from {root}")
        return done
    try:
        root.mkdir(parents=True, exist_ok=True)
        _forget_old(root)
        work = staging.new_folder(root / "partial")
        _unfinished.add(work)
    except OSError as error:
        raise _unwritable(root, error) from error
    try:
        make(work)
        staging.flush(work)  # after a power cut a finished step would be taken as it is
        os.replace(work, done)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        if not done.is_dir():  # else another process finished the same step first
            raise _unwritable(root, error) from error
    except CrashError as error:
        _keep(work, root, error)
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        _unfinished.discard(work)
    shutil.rmtree(work, ignore_errors=True)
    return done


def _sweep(root: Path) -> None:
    """Once a process: what is left afterwards is of processes that died meanwhile."""
    if root not in _swept:
        staging.sweep(root)
        _swept.add(root)


def _keep(work: Path, root: Path, error: CrashError) -> None:
    """What repeats the crash stays, under a name that is no longer this process's."""
    crash = root / f"crash-{time.strftime('%Y%m%d')}-{secrets.token_hex(4)}"
    with contextlib.suppress(OSError):
        os.replace(work, crash)
        error.next = error.next.replace(str(work), str(crash))


def discard_unfinished() -> None:
    """Remove the folders of steps that this process has begun. For signal handlers."""
    for work in tuple(_unfinished):
        shutil.rmtree(work, ignore_errors=True)


def _forget_old(root: Path) -> None:
    for folder in root.iterdir():
        with contextlib.suppress(OSError):  # another process may be renaming or removing it
            if time.time() - folder.stat().st_mtime > _MONTH:
                shutil.rmtree(folder, ignore_errors=True)


def _unwritable(root: Path, error: OSError) -> ConversionError:
    return ConversionError(
        f"Intermediate results cannot be written to {root}",
        str(error.strerror or error),
        "free some space, or set EDGEKIT_CACHE to another folder",
    )
