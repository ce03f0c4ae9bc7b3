"""What a package may hold beside hashes that fit: file names, and configurations that engines act on.

A manifest proves that files are those that were packaged, not that whoever packaged them meant well. What
an engine would execute, load or write on a file's word is refused here, before any engine sees it. Standard
library only.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from edgekit.errors import IntegrityError
from edgekit.package.contents import genai_config, onnx_references

_CONFIGURATION = "genai_config.json"
_TOKENIZER = {
    _CONFIGURATION,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "config.json",
}


class _Reads(NamedTuple):
    """What an engine reads: endings of its artefacts, whether a tokenizer's files, and a file it is configured by."""

    endings: tuple[str, ...] = ()
    tokenizer: bool = True
    configuration: str = ""


_ENGINES = {
    "onnxruntime": _Reads((".onnx",), False),
    "litert": _Reads((".tflite",), False),
    "qnn": _Reads((".onnx",), False),
    "qnn-dlc": _Reads((".dlc",), False),
    "genai": _Reads((".onnx", ".onnx.data"), configuration=_CONFIGURATION),
    "qnn-text": _Reads((".onnx",)),
    "litert-text": _Reads((".tflite",)),
}
_FOREIGN = _Reads()  # of an engine that an extension brings
VOCABULARY = "tokens.bin"  # the bytes of a language model's tokens
_PLAIN = ("labels.txt", "LICENSE", "LICENSE.txt", "NOTICE.txt", "README.md")
_PROGRAMS = (".so", ".dll", ".dylib", ".exe", ".py", ".pyc", ".pyd", ".pth", ".sh", ".bat", ".cmd", ".jar", ".node")
_MAGIC = (b"\x7fELF", b"MZ", b"\xfe\xed\xfa", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")
LONGEST_MAGIC = max(map(len, _MAGIC))


def check_names(names: Collection[str], engine: str, artifacts: Collection[str], needed: Collection[str]) -> None:
    """Raises IntegrityError for a file that the engine does not need. An engine that an extension brings
    may name its artefacts as it likes, programs apart. `needed`: files that the model has besides its artefacts."""
    reads = _ENGINES.get(engine, _FOREIGN)
    if reads.configuration and reads.configuration not in names:
        raise IntegrityError(f"This package has no {reads.configuration}", "its engine reads it", "convert again")
    for name in sorted(names):
        path = PurePosixPath(name)
        lower = name.lower()
        known = (
            name in _PLAIN
            or path.parts[0] == "LICENSES"
            or (name in needed and name == VOCABULARY)
            or (reads.tokenizer and name in _TOKENIZER)
            or lower.endswith(reads.endings)
            or (engine not in _ENGINES and name in artifacts)
        )
        if not known or lower.endswith(_PROGRAMS) or ".so." in lower:
            raise IntegrityError(
                f"The manifest lists {name!r}, which the engine {engine} does not need",
                "a package holds a model and what describes it, no programs and no libraries",
                "do not use this package: it was not written by edgekit",
            )


def is_junk(path: Path) -> bool:
    """Whether a file manager left this: it belongs to no package and does no harm."""
    if path.name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        return True
    if not path.name.startswith("._"):
        return False
    with path.open("rb") as file:  # macOS keeps a file's attributes so where the disk cannot
        return file.read(4) == b"\x00\x05\x16\x07"


def check_beginning(name: str, first: bytes) -> None:
    """Raises IntegrityError for a file whose first bytes are those of a program or library."""
    if first.startswith(_MAGIC):
        raise IntegrityError(
            f"{name} is a program or a library, whatever its name says",
            "a package holds a model and what describes it",
            "do not use this package: it was not written by edgekit",
        )


def is_read_whole(name: str) -> bool:
    """Whether what stands in a file decides what its engine does."""
    return name == _CONFIGURATION or name.lower().endswith(".onnx")


def check_file(name: str, content: bytes, engine: str, artifact: str, listed: Collection[str]) -> None:
    """What one file tells its engine to do. Raises IntegrityError. `listed`: the files of its package."""
    check_beginning(name, content[:LONGEST_MAGIC])
    if name == _CONFIGURATION:
        genai_config.check(content, artifact if _ENGINES.get(engine, _FOREIGN).configuration else "")
    elif name.lower().endswith(".onnx"):
        onnx_references.check(name, content, listed)
