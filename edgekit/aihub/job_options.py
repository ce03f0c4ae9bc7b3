"""Options of AI Hub's jobs, checked before anything is sent: its client takes any text.

https://workbench.aihub.qualcomm.com/docs/hub/api.html
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping

from edgekit.errors import UsageError

RUNTIMES = ("precompiled_qnn_onnx", "qnn_context_binary", "qnn_dlc", "tflite", "onnx")
_FLAG = r"|true|false|yes|no|1|0|t|f"
_NUMBER, _NAMES, _TEXT = r"\d+", r"[^\s,]+(,[^\s,]+)*", r".+"
_UNITS = r"(all|npu|gpu|cpu)(,(all|npu|gpu|cpu))*"
_COMPILE = {
    "truncate_64bit_tensors": _FLAG,
    "truncate_64bit_io": _FLAG,
    "quantize_io": _FLAG,
    "quantize_io_type": r"u?int(8|16)",
    "quantize_weight_type": r"float16|int8",
    "compute_unit": _UNITS,
    "qnn_options": _TEXT,
    "force_channel_last_output": _NAMES,
}
_QUANTIZE = {"range_scheme": r"auto|min_max|mse_minimizer", "lite_mp": _TEXT}
_INFERENCE = {
    "max_profiler_iterations": _NUMBER,
    "max_profiler_time": _NUMBER,
    "compute_unit": _UNITS,
    "tflite_delegates": _NAMES,
    "tflite_options": _TEXT,
    "onnx_options": _TEXT,
    "qnn_options": _TEXT,
    "onnx_execution_providers": _NAMES,
}
KNOWN: Mapping[str, Mapping[str, str]] = {
    "compile": _COMPILE,
    "quantize": _QUANTIZE,
    "inference": _INFERENCE,
    "link": {"qnn_options": _TEXT},
}
_OURS = {
    "target_runtime": "--runtime",
    "qairt_version": "--qairt-version",
    "quantize_full_type": "-p",
    "output_names": "nothing: edgekit names outputs itself",
    "force_channel_last_input": "nothing: images have channels last already",
    "dequantize_outputs": "nothing: edgekit asks for real numbers",
}


def check(kind: str, text: str) -> dict[str, str]:
    """The options in `text`, by name. Raises UsageError for what AI Hub would not take, or what
    edgekit sets itself."""
    known, options = KNOWN[kind], _parse(text)
    for name, value in options.items():
        if name in _OURS:
            raise UsageError(f"--{name} is set by edgekit", "", f"use {_OURS[name]}")
        if name not in known:
            close = difflib.get_close_matches(name, known, 3) or sorted(known)
            raise UsageError(
                f"AI Hub's {kind} jobs have no option --{name}",
                "nothing was sent",
                f"did you mean {', '.join('--' + c for c in close)}",
            )
        if not re.fullmatch(known[name], value, re.IGNORECASE):
            raise UsageError(
                f"--{name} does not take {value or 'nothing'}",
                "nothing was sent",
                f"it takes {known[name]} (a regular expression)",
            )
    return options


def text(options: Mapping[str, str]) -> str:
    return " ".join(f"--{n} {shlex.quote(v)}" if v else f"--{n}" for n, v in sorted(options.items()))


def _parse(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"The options {text!r} cannot be read", str(error)) from error
    options: dict[str, str] = {}
    last = ""
    for word in words:
        if word.startswith("--"):
            last, _, value = word[2:].partition("=")
            options[last] = value
        elif last and not options[last]:
            options[last] = word
        else:
            raise UsageError(f"The options cannot be read at {word!r}", "", "write --name value")
    return options
