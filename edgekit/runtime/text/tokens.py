"""Tokens as bytes, and text out of them piece by piece. Standard library and numpy only.

`tokens.bin` holds the bytes of every token, so that text is right at each piece whatever bytes it
is made of (a tokenizer's own decoder may drop what is no UTF-8). Layout, little-endian: 8 bytes
`EKTOK\\0\\0\\1`, uint32 count, uint32 offset of each token's end, uint8 kind of each, the bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

import numpy as np

from edgekit.errors import IntegrityError, UsageError

MAGIC = b"EKTOK\0\0\1"
PLAIN, SPECIAL = 0, 1  # special tokens are marks, not text


def checked_text(text: str, what: str) -> str:
    """Text that can be written as UTF-8. Raises UsageError for half of a surrogate pair."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{what} holds half of a surrogate pair, which is no character",
            f"at position {error.start}",
            "pass UTF-8 text",
        ) from error
    return text


def write_tokens(tokens: Sequence[bytes], special: Iterable[int]) -> bytes:
    """The content of `tokens.bin`."""
    ends = np.cumsum([len(t) for t in tokens], dtype=np.uint64)
    kinds = np.zeros(len(tokens), np.uint8)
    kinds[list(special)] = SPECIAL
    count = np.uint32(len(tokens)).tobytes()
    return MAGIC + count + ends.astype("<u4").tobytes() + kinds.tobytes() + b"".join(tokens)


class Tokens:
    """The bytes of every token. `special` (count,) bool."""

    def __init__(self, content: bytes) -> None:
        """Raises IntegrityError when `content` is not what `write_tokens` gives."""
        count = int.from_bytes(content[8:12], "little")
        start = 12 + 5 * count
        if content[:8] != MAGIC or len(content) < start:
            raise IntegrityError("The file of this package's tokens is malformed", "", "convert again")
        self._ends = np.frombuffer(content, "<u4", count, 12)
        self.special = np.frombuffer(content, np.uint8, count, 12 + 4 * count) == SPECIAL
        self._bytes = content[start:]
        if count and (self._ends[-1] != len(self._bytes) or (np.diff(self._ends.astype(np.int64)) < 0).any()):
            raise IntegrityError("The file of this package's tokens is malformed", "", "convert again")

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, token: int) -> bytes:
        """The bytes of a token; none for ids beyond the vocabulary (padding of the logits)."""
        if not 0 <= token < len(self._ends):
            return b""
        return self._bytes[int(self._ends[token - 1]) if token else 0 : int(self._ends[token])]

    def text(self, tokens: Iterable[int], special: bool = False) -> str:
        """`special`: also show special tokens. Bytes that are no UTF-8 become U+FFFD."""
        shown = (t for t in tokens if special or not self.is_special(t))
        return b"".join(self[t] for t in shown).decode("utf-8", "replace")

    def is_special(self, token: int) -> bool:
        return token < len(self.special) and bool(self.special[token])


class Pieces:
    """Text as it comes: whole characters only, and nothing that may turn out to be a stop string."""

    def __init__(self, tokens: Tokens, stop: Sequence[str] = ()) -> None:
        self._tokens, self._stop = tokens, [s for s in stop if s]
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self.stopped = False  # a stop string was met; it is not part of the text

    def add(self, token: int) -> str:
        """The text that is certain now; "" while a character or a stop string may be unfinished."""
        data = b"" if self._tokens.is_special(token) else self._tokens[token]
        return self._certain(self._held + self._decoder.decode(data))

    def finish(self) -> str:
        """What was held back."""
        if self.stopped:
            return ""
        text = self._certain(self._held + self._decoder.decode(b"", True)) + self._held
        self._held = ""
        return text

    def _certain(self, text: str) -> str:
        positions = [i for i in (text.find(s) for s in self._stop) if i >= 0]
        if positions:
            self.stopped, self._held = True, ""
            return text[: min(positions)]
        keep = max((_overlap(text, s) for s in self._stop), default=0)
        self._held = text[len(text) - keep :] if keep else ""
        return text[: len(text) - keep] if keep else text


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
