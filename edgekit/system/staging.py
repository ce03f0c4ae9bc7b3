"""Names for what is not finished, and the removal of what a killed process left under them.

    .NAME.edgekit-PLACE-BOOT-PID-START-RANDOM        beside NAME, whose place it takes when it is whole
    .NAME.edgekit-PLACE-BOOT-PID-START-RANDOM-old    what was NAME before: put back where NAME is missing
    edgekit-PLACE-BOOT-PID-START-RANDOM              in the folder for temporary files

PLACE is this machine and its process numbers (a container has its own), BOOT its last start, START the
process's, so that a number that is used again is not taken for the process that had it before. What a
dead process of this place left is removed by the next one that writes there; what another place left in
a shared folder, once nothing in it has changed for a day. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgekit.system import processes

TEMPORARY = "TMPDIR" if os.name == "posix" else "TEMP"  # the variable that names that folder
_outer: list[str | None] = []  # what it was before `own_temporary_folder`
_DAY = 24 * 3600
_LONGEST = 100  # characters of NAME: file systems take 255 bytes, and some of them count UTF-16
_NAME = re.compile(
    r"(?:\.(?P<label>.+)\.)?edgekit-(?P<place>[0-9a-f]{8})-(?P<boot>[0-9a-f]{4})-(?P<pid>[0-9]{1,10})"
    r"-(?P<start>[0-9]{1,20})-[0-9a-f]{6}(?P<old>-old)?",
    re.DOTALL,
)
_CUT = re.compile("~[0-9a-f]{8}$")
# What edgekit named by nothing or by a number alone; no process of a day ago still writes it.
_BEFORE = re.compile(r"\.receipt\.json\.[0-9]+|\..+\.(edgepkg|html)\.[0-9]+|\.partial-[a-z0-9_]{8}", re.DOTALL)


def name(of: str = "", old: bool = False) -> str:
    """A name that nothing has, for what becomes `of`; without `of`, for a temporary folder."""
    pid = os.getpid()
    own = f"edgekit-{processes.place()}-{processes.boot()}-{pid}-{processes.began(pid) or 0}-{secrets.token_hex(3)}"
    return (f".{_label(of)}." if of else "") + own + ("-old" if old else "")


def is_unfinished(entry: str, of: str) -> bool:
    """Whether an entry's name is one that `name(of)` gives, so that it may stand there while it is written."""
    match = _NAME.fullmatch(entry)
    return match is not None and match["label"] == of and not match["old"]


def _label(of: str) -> str:
    """Long names are cut; a hash keeps two of them apart."""
    name = os.fsencode(of)  # which may be no UTF-8
    if len(name) <= _LONGEST:
        return of
    cut = name[: _LONGEST - 9].decode(errors="ignore")
    return f"{cut}~{hashlib.sha256(name).hexdigest()[:8]}"


def sweep(folder: Path, of: str = "") -> None:
    """Remove from `folder` what dead processes left there, and put back what they had set aside: all of
    it whose name says what it was, and what was `of`, however long that name is.

    Touches nothing of another user, and never fails: what cannot be removed stays.
    """
    try:
        with os.scandir(folder) as entries:
            left = [e for e in entries if _is_left(e)]
    except OSError:
        return
    for entry in left:
        match = _NAME.fullmatch(entry.name)
        if not match or not match["old"]:
            remove(Path(entry.path))
        elif of and match["label"] == _label(of):
            _settle(Path(entry.path), folder / of)
        elif match["label"] and not _CUT.search(match["label"]):
            _settle(Path(entry.path), folder / match["label"])


def _settle(retired: Path, out: Path) -> None:
    """A process set `retired` aside to put another in its place, and died."""
    if os.path.lexists(out):
        discard_retired(retired)
    else:
        with contextlib.suppress(OSError):  # another process was quicker
            os.rename(retired, out)


def discard_retired(retired: Path) -> None:
    """Remove it under another name: one half of a package must never be put back."""
    with contextlib.suppress(OSError):
        gone = retired.with_name(name("removed"))
        os.rename(retired, gone)
        remove(gone)


def _is_left(entry: os.DirEntry[str]) -> bool:
    match = _NAME.fullmatch(entry.name)
    if not match and not _BEFORE.fullmatch(entry.name):
        return False
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return False
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return False
    if match and match["place"] == processes.place():
        return match["boot"] != processes.boot() or not processes.alive(int(match["pid"]), int(match["start"]))
    return time.time() - _changed(Path(entry.path), status) > _DAY


def _changed(path: Path, status: os.stat_result) -> float:
    """The time of the last change in a folder, or of a file."""
    latest = status.st_mtime
    if stat.S_ISDIR(status.st_mode):
        for folder, _, files in os.walk(path):
            for each in (folder, *(os.path.join(folder, f) for f in files)):
                with contextlib.suppress(OSError):
                    latest = max(latest, os.lstat(each).st_mtime)
    return latest


def remove(path: Path) -> None:
    """Remove a file, a link or a folder; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def new_file(out: Path) -> Iterator[Path]:
    """A path beside `out` to write to; the file takes its place when the block ends well. Raises OSError."""
    sweep(out.parent)
    temporary = out.with_name(name(out.name))
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, out)
        _flush(out.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def new_folder(beside: Path) -> Path:
    """An empty folder, for its owner alone, that becomes `beside`. Raises OSError."""
    folder = beside.with_name(name(beside.name))
    folder.mkdir(mode=0o700)
    return folder


def flush(folder: Path) -> None:
    """What is in it reaches the disk: a power cut after a rename must not leave files without their
    bytes. Raises OSError when the disk is full or broken."""
    for path, _, files in os.walk(folder, topdown=False):
        for each in files:
            _flush(Path(path, each))
        _flush(Path(path))


def flush_names(folder: Path) -> None:
    """What was renamed in it has its new name after a power cut. Raises OSError."""
    _flush(folder)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders
    try:
        handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    except PermissionError:
        return  # a folder that may be written but not read
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno in (errno.EIO, errno.ENOSPC, errno.EDQUOT):
            raise  # others say that this file system cannot
    finally:
        os.close(handle)


@contextlib.contextmanager
def own_temporary_folder() -> Iterator[None]:
    """All temporary files of this process and its children lie in one folder with its name, which goes
    with it, or when the next process starts. For the whole of a command line."""
    before, outer = tempfile.tempdir, os.environ.get(TEMPORARY)
    own: Path | None = None
    with contextlib.suppress(OSError):  # no folder for temporary files: whoever needs one says so
        root = _temporary_root()
        sweep(root)
        own = root / name()
        own.mkdir(mode=0o700)
        tempfile.tempdir = os.environ[TEMPORARY] = str(own)
        _outer.append(outer)
    try:
        yield
    finally:
        if own is not None:
            remove(own)
            tempfile.tempdir = before
            os.environ.pop(TEMPORARY, None)
            os.environ.update(outer_environment())
            _outer.clear()


def _temporary_root() -> Path:
    """Where `tempfile` would look first. Asking it tries the place with a file that a kill would leave."""
    named = [os.environ.get(v) for v in ("TMPDIR", "TEMP", "TMP")]
    for place in (*named, *(("/tmp", "/var/tmp") if os.name == "posix" else ())):
        if place and os.path.isdir(place) and os.access(place, os.W_OK):
            return Path(place).absolute()
    return Path(tempfile.gettempdir())


def outer_environment() -> dict[str, str]:
    """The environment for programs that may leave temporary files on purpose."""
    environment = dict(os.environ)
    for value in _outer:
        environment.pop(TEMPORARY, None)
        environment |= {} if value is None else {TEMPORARY: value}
    return environment
