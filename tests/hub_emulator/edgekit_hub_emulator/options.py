"""The options of a job: flags in one string, as AI Hub takes them. Standard library only."""

from __future__ import annotations

import re
import shlex

_TRUE, _FALSE = ("true", "yes", "1", "t"), ("false", "no", "0", "f")
RUNTIMES = {  # what becomes of a model, and the name `qai_hub` has for that
    "tflite": "TFLITE",
    "qnn_dlc": "QNN_DLC",
    "qnn_context_binary": "QNN_CONTEXT_BINARY",
    "onnx": "ONNX",
    "precompiled_qnn_onnx": "ONNX",
}


class OptionError(ValueError):
    """The options cannot be honoured; the message says which and why."""


class Options:
    """The options by name; `rest()` lists those that no call has read."""

    def __init__(self, text: str) -> None:
        self._values = _parse(text)
        self._names: set[str] = set()

    def text(self, name: str, default: str = "") -> str:
        self._names.add(name)
        return self._values.get(name, default)

    def flag(self, name: str, default: bool = False) -> bool:
        """A flag alone means true."""
        value = self.text(name, str(default)).lower()
        if value in ("", *_TRUE):
            return True
        if value in _FALSE:
            return False
        raise OptionError(f"--{name} is true or false, not {value}.")

    def names(self, name: str) -> list[str]:
        return [n.strip() for n in self.text(name).split(",") if n.strip()]

    def number(self, name: str, default: int) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", value):
            raise OptionError(f"--{name} is a number, not {value}.")
        return int(value)

    def pairs(self, name: str) -> dict[str, str]:
        """`--qnn_options a=1;b=O=3`: {"a": "1", "b": "O=3"}."""
        parts = [p for p in self.text(name).split(";") if p]
        return {k.strip(): v.strip() for k, _, v in (p.partition("=") for p in parts)}

    def rest(self) -> list[str]:
        return sorted(self._values.keys() - self._names)


def target_runtime(text: str, system: str, source: str) -> str:
    """The runtime that a compile job makes a model for. `source`: what kind of model it gets."""
    default = "onnx" if system == "windows" else "tflite"
    if source == "QNN_CONTEXT_BINARY":
        default = "precompiled_qnn_onnx"  # a binary can only be embedded
    return Options(text).text("target_runtime", default)


def _parse(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise OptionError(f"The options cannot be read: {error}.") from error
    values: dict[str, str] = {}
    last = ""
    for word in words:
        if word.startswith("--"):
            last, _, value = word[2:].partition("=")
            values[last] = value
        elif last and not values[last]:
            values[last] = word
        else:
            raise OptionError(f"The options cannot be read at {word!r}.")
    return values
