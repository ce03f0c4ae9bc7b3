"""Which releases open a context, as its package states it (docs/decisions/0008-snapdragon.md has what was tried).

A context opens with the QAIRT that made it and with later ones, never with an earlier one. QAIRT comes inside
Qualcomm's provider, and the provider is loaded into ONNX Runtime, which may be older or newer.
"""

from __future__ import annotations

from importlib.metadata import version

from edgekit.runtime.engines.qnn import compiler
from edgekit.runtime.ranges import numbers

# The QAIRT inside each release of onnxruntime-qnn, from its build_and_package_info.py.
_RELEASES = {"2.47": "2.3", "2.48": "2.4", "2.49": "2.5", "2.50": "2.6", "2.51": "2.7"}
_END = "3"
# Providers from 2.3 to 2.7 say that they need its API 24, and ask pip for no less than this.
ONNXRUNTIME = ">=1.24.2,<2"
# ONNX Runtime GenAI, which has the tokenizer of language models, asks pip for a later one.
ONNXRUNTIME_WITH_GENAI = ">=1.31,<2"


def provider_versions(qairt: str) -> str:
    """The releases of onnxruntime-qnn that open a context: from the first whose QAIRT is as new as the one that
    made it. Where that is not stated, every release of that interface."""
    interface = numbers(qairt)[:2]
    if not interface:
        return f">=2,<{_END}"
    known = _known()
    fit = [release for inside, release in known.items() if numbers(inside) >= interface]
    if fit:
        return f">={min(fit, key=numbers)},<{_END}"
    return f">{max(known.values(), key=numbers)},<{_END}"  # a later one, which is not known here


def _known() -> dict[str, str]:
    """The releases above, and the one installed here, which may be later."""
    here = numbers(compiler().removeprefix("QAIRT "))[:2]
    if not here:
        return _RELEASES
    release = ".".join(map(str, numbers(version("onnxruntime-qnn"))[:2]))
    return {".".join(map(str, here)): release, **_RELEASES}
