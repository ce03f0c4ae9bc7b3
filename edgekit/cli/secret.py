"""Secrets for a command: from a file, since everybody on a machine sees the arguments of its processes."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UsageError, no_file
from edgekit.system.documents import DocumentError, read_utf8
from edgekit.system.redaction import remember

_LARGEST = 4096  # bytes


def secret_in(path: str, option: str) -> str:
    """The one word in a file, which no message shows from now on. Raises UsageError."""
    if not Path(path).is_file():
        raise no_file("file", path, f"write the secret into a file, and pass that to {option}")
    try:
        words = read_utf8(Path(path), _LARGEST).split()
    except (OSError, DocumentError) as error:
        raise UsageError(f"{option} {path} cannot be read", str(error), "check the path") from error
    if len(words) != 1:
        raise UsageError(f"{option} {path} holds no token or key", "", "write it into the file, one word")
    return checked(words[0], option)


def checked(secret: str, name: str) -> str:
    """A secret that clients can send. Raises UsageError for another one."""
    remember(secret)
    if any(c.isspace() or not c.isprintable() for c in secret):
        raise UsageError(f"{name} holds white space or what cannot be printed", "no client can send it")
    return secret
