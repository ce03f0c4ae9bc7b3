"""Text files: UTF-8 `.txt`, in which `<|endoftext|>` separates texts, or `.jsonl` with a `text` or
`content` a line. Standard library only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import DataError, no_file
from edgekit.system.documents import DocumentError, parse_json, read_utf8

_LARGEST = 2**30  # bytes
_SEPARATOR = "<|endoftext|>"
_SHORTEST = 32  # tokens of a window that is not full


def read_texts(path: Path) -> list[str]:
    """The texts of a file: the whole of a .txt, one a line of a .jsonl. Raises DataError, and UsageError
    where there is no such file."""
    if not path.is_file():
        raise no_file("text file", str(path), "pass a UTF-8 .txt or .jsonl")
    try:
        content = read_utf8(path, _LARGEST)
    except DocumentError as error:
        raise DataError(f"{path.name} cannot be read", str(error), "pass a UTF-8 .txt or .jsonl") from error
    texts = _lines(path, content) if path.suffix.lower() == ".jsonl" else content.split(_SEPARATOR)
    texts = [t.strip("\n") for t in texts if t.strip()]
    if not texts:
        raise DataError(f"{path.name} holds no text", "", "pass a UTF-8 .txt or .jsonl")
    return texts


def _lines(path: Path, content: str) -> list[str]:
    texts = []
    for number, line in enumerate(content.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row: Any = parse_json(line)
            text = row if isinstance(row, str) else row.get("text") or row.get("content")
            if not isinstance(text, str):
                raise ValueError("it has neither text nor content")
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"Line {number} of {path.name} cannot be used", str(error), 'each line is {"text": "…"}'
            ) from error
        texts.append(text)
    return texts


def windows_of(
    texts: Sequence[str], encode: Callable[[str], list[int]], length: int, count: int, name: str
) -> list[list[int]]:
    """Up to `count` windows of at most `length` tokens, one after the other through the texts; each
    begins as a text does, with the tokens that `encode` puts first. The rest of a text is a shorter
    window, when it is 32 tokens or more. Raises DataError when there is none."""
    windows: list[list[int]] = []
    first = encode("")
    step = length - len(first)
    for text in texts:
        ids = encode(text)[len(first) :]
        for start in range(0, len(ids), step):
            if len(ids) - start >= min(_SHORTEST, step):
                windows.append(first + ids[start : start + step])
            if len(windows) == count:
                return windows
    if not windows:
        raise DataError(f"{name} is too short", f"it holds no text of {_SHORTEST} tokens", "pass more text")
    return windows


def fingerprint(texts: Sequence[str]) -> str:
    """SHA-256 over the texts, in order: what a receipt cites."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()
