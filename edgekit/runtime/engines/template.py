"""Chat templates of strangers: programs, which may loop for ever, fill memory or run through the stack. So
they are rendered in a child that may take ten seconds and 512 MiB.

A template needs no vocabulary: the child opens a tokenizer of two letters, in milliseconds.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError
from edgekit.system.child import Child, ChildError
from edgekit.system.documents import JsonObject, read_bytes, read_object, read_utf8

_SECONDS = 10.0
_MORE, _TIMES = (2**20, 8)  # characters that a rendering may have: so many, and so many times the messages
_LARGEST = 2**20  # bytes of a template
_LETTERS: dict[str, Any] = {
    "version": "1.0",
    "added_tokens": [],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
}


class Template:
    """The chat template of a package's folder. Use `close` when done: it has a process."""

    def __init__(self, package: Path) -> None:
        """Raises DocumentError, OSError for files that cannot be read."""
        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")
        self._child: Child | None = None
        folder = Path(self._folder.name)
        settings = _object(package / "tokenizer_config.json")
        file = package / "chat_template.jinja"
        if file.exists():
            settings["chat_template"] = read_utf8(file, _LARGEST)
        elif (package / "chat_template.json").exists():
            settings["chat_template"] = _object(package / "chat_template.json").get("chat_template")
        settings["tokenizer_class"] = "GPT2Tokenizer"
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
        (folder / "tokenizer.json").write_text(json.dumps(_LETTERS), encoding="utf-8")
        (folder / "genai_config.json").write_bytes(read_bytes(package / "genai_config.json", _LARGEST))

    def render(self, messages: Sequence[dict[str, str]], answering: bool) -> str:
        """Raises UsageError when the template refuses the messages, or the child is ended."""
        if self._child is None:
            self._child = Child("edgekit.runtime.engines.template_child", self._folder.name)
        try:
            reply = self._child.ask({"messages": list(messages), "answering": answering}, _SECONDS)
        except ChildError as error:
            self._child = None
            raise _refused(f"the process that rendered it ended: {error}") from error
        if "text" not in reply:
            raise _refused(str(reply.get("error", "")))
        text = str(reply["text"])
        if len(text) > _MORE + _TIMES * sum(len(v) for m in messages for v in m.values()):
            raise _refused(f"it makes {len(text)} characters of them")
        return text

    def close(self) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
        self._folder.cleanup()


def _object(path: Path) -> JsonObject:
    return read_object(path) if path.exists() else {}


def _refused(why: str) -> UsageError:
    return UsageError(
        "The chat template of this package does not take these messages",
        why,
        "most take user and assistant in turn, some a system message first",
    )
