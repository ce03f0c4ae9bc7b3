"""Text between a console and edgekit: UTF-8 in, whatever the locale says; out, signs that it can show."""

from __future__ import annotations

import codecs
import os
import sys

from edgekit.errors import UsageError

_PLAIN = {
    "→": "->",
    "…": "...",
    "█": "#",
    "·": ".",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "–": "-",
    "—": "-",
    "’": "'",
    "“": '"',
    "”": '"',
    "✓": "ok",
    "≠": "!=",
    "±": "+-",
}
_HANDLER = "edgekit.plain"


def adapt_output() -> None:
    """From now on a sign that stdout or stderr cannot encode becomes a plain one, instead of an error."""
    codecs.register_error(_HANDLER, _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # None in a service, something else in a test
            reconfigure(errors=_HANDLER)


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = error.object[error.start : error.end]
    return "".join(_PLAIN.get(sign, "?") for sign in signs), error.end


def utf8(text: str, option: str) -> str:
    """An argument that is text, which a locale may have decoded as something else. Raises UsageError for bytes
    that are no UTF-8."""
    try:
        return os.fsencode(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{option} is not UTF-8 text",
            f"byte {error.start} is 0x{error.object[error.start]:02x}",
            "pass it in a file, as UTF-8",
        ) from error
    except UnicodeEncodeError:  # it comes from a program, not from a shell
        return text
