"""What a worker reports: its tools, and what it is doing."""

from __future__ import annotations

import time
from importlib.metadata import PackageNotFoundError, version

_TOOLS = ("edgekit", "onnx", "onnxruntime", "onnxruntime-qnn", "ai-edge-litert")


def log(text: str) -> None:
    print(time.strftime("[%Y-%m-%d %H:%M:%S]"), text, flush=True)


def versions() -> dict[str, str]:
    """Of what this environment has; QAIRT is Qualcomm's compiler."""
    releases = {}
    for name in _TOOLS:
        try:
            releases[name] = version(name)
        except PackageNotFoundError:
            continue
    if "onnxruntime-qnn" in releases:
        from edgekit.runtime.engines.qnn import compiler

        releases["QAIRT"] = compiler().removeprefix("QAIRT ")
    return releases
