"""What is shown of texts that others wrote: no secrets, and nothing that steers a terminal. Every error, note and
log line of edgekit goes through `redact`. Standard library only."""

from __future__ import annotations

import os
import re

_HIDDEN = "[hidden]"
_SHORTEST = 6  # of a secret that is looked for; shorter ones would hide ordinary words
_SECRET_VARIABLE = re.compile(r"(^|_)(TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS)$")
_PATTERNS = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@'\"]+@"), rf"\1{_HIDDEN}@"),
    (re.compile(r"(?<![\w/])[\w.+-]{1,64}:[^\s/@'\"]{3,200}@(?=[\w.\[-]+[:/.\]])"), f"{_HIDDEN}@"),
    (re.compile(r"([?&;](?:[\w-]*(?:token|key|secret|password|signature)[\w-]*)=)[^\s&#'\"]+", re.I), rf"\1{_HIDDEN}"),
    # a whole word, since language models have tokens of their own
    (
        re.compile(
            r"((?<![\w-])(?:(?:api|auth|access|hf|refresh)[_-]?)?(?:token|key|secret|password)['\"]?\s*[=:]\s*['\"]?)"
            r"[A-Za-z0-9_\-./+=]{12,}",
            re.I,
        ),
        rf"\1{_HIDDEN}",
    ),
    (
        re.compile(r"(\bauthorization['\"]?\s*[:=]\s*['\"]?(?:token|bearer|basic)?\s*)[^\s'\",;]{6,}", re.I),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(\b(?:bearer|token)\s+)[A-Za-z0-9_\-.=]{16,}", re.I), rf"\1{_HIDDEN}"),
    (re.compile(r"\b(?:hf_|ghp_|sk-)[A-Za-z0-9_-]{16,}"), _HIDDEN),
)
_known: set[str] = set()


def printable(text: str, exceptions: str = "") -> str:
    """What others wrote, without what would steer a terminal; `exceptions`: signs that stay all the same."""
    return "".join(c if c.isprintable() or c in exceptions else "\ufffd" for c in text)


def remember(secret: str) -> None:
    """From now on this text is hidden wherever it appears."""
    if len(secret) >= _SHORTEST:
        _known.add(secret)


def redact(text: str) -> str:
    """The text without secrets: those that were read, those of the environment, and what looks like one."""
    for secret in sorted({*_known, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    for pattern, hidden in _PATTERNS:
        text = pattern.sub(hidden, text)
    return text


def _of_environment() -> list[str]:
    return [v for k, v in os.environ.items() if len(v) >= _SHORTEST and _SECRET_VARIABLE.search(k.upper())]
