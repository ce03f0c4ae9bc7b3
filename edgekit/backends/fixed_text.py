"""What backends of fixed sizes have in common: the CPU's package without its graph, and how long a step
is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgekit.backends.base import Artifact, Availability, CompileOptions
from edgekit.errors import ConversionError
from edgekit.model import CheckpointModel
from edgekit.spec import TextSpec

_PROMPT = 128  # tokens read at once, as in Qualcomm's own recipes
_WITHOUT_PLAIN_FORM = {
    "Ernie4_5ForCausalLM": "it rotates neighbouring values",
    "HunYuanDenseV1ForCausalLM": "it normalises what it has rotated",
    "Lfm2ForCausalLM": "its convolutions keep a state",
}
_GRAPH = ("model.onnx", "model.onnx.data")  # the builder's own


def both(*found: Availability) -> Availability:
    """All of them; the first that is missing speaks."""
    missing = next((a for a in found if a.missing), None)
    return missing or Availability(versions={k: v for a in found for k, v in a.versions.items()})


def check_family(model: CheckpointModel) -> None:
    """Raises ConversionError, before weights are rounded, for a family that `fixed_text` has no rules for."""
    family = model.spec_as(TextSpec).family
    why = _WITHOUT_PLAIN_FORM.get(family)
    if why:
        raise ConversionError(
            f"{model.name} cannot be written in graphs of fixed sizes", f"{family}: {why}", "convert it for -t cpu"
        )


def prompt_step(options: CompileOptions, context: int) -> int:
    return min(number(options, "prompt_step", _PROMPT), context // 2)


def without_graph(made: Artifact, out: Path, **settings: Any) -> Artifact:
    """Removes the CPU's graph from the package in `out`, and what is said of it from `made`."""
    for name in _GRAPH:
        (out / name).unlink(missing_ok=True)
    kept = {k: v for k, v in made.settings.items() if k != "accuracy_level"}
    return replace(made, settings={**kept, **settings})


def tokenizer_libraries(made: Artifact) -> dict[str, str]:
    """What makes the ids of a text where another engine computes: that of `made`, and what it needs itself."""
    return {"onnxruntime-genai": made.engine.versions, **made.engine.libraries}


def number(options: CompileOptions, name: str, default: int) -> int:
    return options.whole(name) or default
