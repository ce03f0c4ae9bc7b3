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


def both(*availabilities: Availability) -> Availability:
    """Several availabilities as one: the first that is missing, or the versions of all."""
    missing = next((a for a in availabilities if a.missing), None)
    return missing or Availability(versions={k: v for a in availabilities for k, v in a.versions.items()})


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


def without_graph(artifact: Artifact, out: Path, **settings: Any) -> Artifact:
    """Removes the CPU's graph from the package in `out`, and what is said of it from `artifact`."""
    for name in _GRAPH:
        (out / name).unlink(missing_ok=True)
    own = {k: v for k, v in artifact.settings.items() if k != "accuracy_level"}
    return replace(artifact, settings={**own, **settings})


def tokenizer_libraries(artifact: Artifact) -> dict[str, str]:
    """What makes the ids of a text where another engine computes: that of `artifact`, and what it needs itself."""
    return {"onnxruntime-genai": artifact.engine.versions, **artifact.engine.libraries}


def number(options: CompileOptions, name: str, default: int) -> int:
    return options.whole(name) or default
