"""Every error edgekit raises on purpose, and the exit code a shell sees.

    EdgekitError
    ├── GateError          1   a verdict, gate or tripwire failed
    ├── UsageError         2   the request itself is wrong or ambiguous, or names what is not there
    ├── MissingError       3   something is not installed or configured
    ├── DeviceError        4   a device cannot be reached or failed while measuring
    ├── ConversionError    5   a source could not become a package
    │   ├── SourceError        the source is not a model edgekit can read
    │   │   └── UnsafeSourceError   reading it would run code
    │   ├── DataError          calibration or evaluation data cannot be used
    │   └── CrashError         a compiler died; what repeats it was kept
    ├── IntegrityError     6   a package is not what its manifest says
    └── RemoteError        7   a remote service refused or failed

Each says *what* failed, *why*, and what to do *next*, in that order.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from edgekit.system.redaction import printable, redact

_MEMORY = "end other programs, or take a machine or a limit (ulimit) with more memory"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # of where results go, not of what is read


class EdgekitError(Exception):
    """Base of all errors below; catch this to catch them all."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", next: str = "") -> None:
        self.what, self.why, self.next = (redact(plain(text)) for text in (what, why, next))
        super().__init__(self.what)

    def __str__(self) -> str:
        lines = [self.what]
        if self.why:
            lines.append(f"  why:  {self.why}")
        if self.next:
            lines.append(f"  next: {self.next}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[type[EdgekitError], tuple[str, str, str]]:
        return type(self), (self.what, self.why, self.next)

    def to_dict(self) -> dict[str, str]:
        """As `--json` prints it."""
        return {"error": type(self).__name__, "what": self.what, "why": self.why, "next": self.next}


def plain(text: str) -> str:
    """What others wrote, without what would steer a terminal or break a document; at most 2,000 characters."""
    return printable(text[:2000], "\n") + (" …" if len(text) > 2000 else "")


class GateError(EdgekitError):
    exit_code = 1


class UsageError(EdgekitError):
    exit_code = 2


class MissingError(EdgekitError):
    exit_code = 3


class DeviceError(EdgekitError):
    exit_code = 4


class ConversionError(EdgekitError):
    exit_code = 5


class SourceError(ConversionError):
    pass


class UnsafeSourceError(SourceError):
    pass


class DataError(ConversionError):
    pass


class CrashError(ConversionError):
    pass


class IntegrityError(EdgekitError):
    exit_code = 6


class RemoteError(EdgekitError):
    exit_code = 7


def no_file(kind: str, path: str, next: str = "check the path") -> UsageError:
    """For a path, as it was given, at which there is no file: `kind` says what was wanted there."""
    if "://" in path:
        return UsageError(
            f"{path} is an address, not a file", "files are read from this machine", "download it, and pass the file"
        )
    if os.path.isdir(path):
        return UsageError(f"{path} is a folder", f"a file was expected: one {kind}", next)
    if os.path.exists(path):
        return UsageError(f"{path} is not a file", "", next)
    return UsageError(f"There is no {kind} {path}", "", next)


@contextlib.contextmanager
def guard(kind: type[EdgekitError], what: str, next: str = "") -> Iterator[None]:
    """Whatever a reader or a library raises in this block becomes one error of `kind` that says `what`.

    edgekit's own errors pass, and so does a full disk. Some libraries' errors are no `Exception`.
    """
    try:
        yield
    except (EdgekitError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError as error:
        raise kind(what, "it needs more memory than there is", _MEMORY) from error
    except RecursionError as error:
        raise kind(what, "it nests too deeply", next) from error
    except BaseException as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise
        raise kind(what, first_line(error), next) from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line, with its type where it says little."""
    lines = str(error).strip().splitlines()
    text = lines[0][:300] if lines else ""
    kind = type(error).__name__
    return f"{kind}: {text}" if len(text) < 40 or kind in ("KeyError", "TypeError", "ValueError") else text


BY_NAME: dict[str, type[EdgekitError]] = {
    cls.__name__: cls
    for cls in (
        GateError,
        UsageError,
        MissingError,
        DeviceError,
        ConversionError,
        SourceError,
        UnsafeSourceError,
        DataError,
        CrashError,
        IntegrityError,
        RemoteError,
    )
}


def from_dict(data: Mapping[str, object]) -> EdgekitError:
    """Rebuild an error that a worker process wrote as JSON (see `EdgekitError.to_dict`)."""
    what, why, next_ = (str(data.get(key, "")) for key in ("what", "why", "next"))
    return BY_NAME.get(str(data.get("error")), ConversionError)(what or "unknown error", why, next_)
