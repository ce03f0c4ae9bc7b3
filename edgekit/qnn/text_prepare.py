"""A language model's graphs for the NPU, and the gate they pass before they are compiled.

The builder's graph and the two made of it read the same tokens on the CPU and must agree: the compiler
takes graphs that compute something else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgekit.fixed_text.gate import equal, open_on_cpu, write_exact
from edgekit.fixed_text.graphs import decoder, host
from edgekit.package.receipt import Measurement
from edgekit.progress import Progress
from edgekit.runtime.engines.fixed_text_decoder import Decoder
from edgekit.runtime.engines.onnxruntime_chain import Chain


@dataclass(frozen=True)
class TextGraphs:
    """Files in one folder: the parts of both graphs, and the host's."""

    host: Path
    prompt: tuple[Path, ...]
    token: tuple[Path, ...]
    gate: Measurement


def prepare_text(
    built: Path, into: Path, context: int, step: int, limit: float, half: bool, progress: Progress
) -> TextGraphs:
    """`built`: what onnxruntime-genai's builder wrote. `limit`: bytes of weights in a part. `half`: keep
    the embedding in 16 bits. Raises ConversionError when the graphs compute something else."""
    exact = write_exact(built)  # the NPU does not round inputs either
    source = onnx.load(str(exact))
    head = json.loads((built / "genai_config.json").read_text(encoding="utf-8"))["model"]["decoder"]["head_size"]
    files: dict[str, tuple[Path, ...]] = {}
    for index, (kind, width) in enumerate((("prompt", step), ("token", 1))):
        progress("preparing for the NPU", index, 2)
        graph = decoder(source, head, width, context)
        files[kind] = tuple(_written(graph.parts(limit), into, kind))
    beside = into / "host.onnx"
    onnx.save(host(source, graph.tables, context, half=False), str(beside))
    opened = open_on_cpu(beside)
    chains = [Chain(opened, [open_on_cpu(p) for p in files[k]]) for k in ("prompt", "token")]
    gate = equal(exact, Decoder(*chains), graph.vocabulary, head, step, "prepared graphs on the CPU")
    if half:  # not before the gate, which would see it
        onnx.save(host(source, graph.tables, context, half), str(beside))
    exact.unlink()
    progress("preparing for the NPU", 2, 2)
    return TextGraphs(beside, files["prompt"], files["token"], gate)


def _written(parts: Iterator[onnx.ModelProto], into: Path, kind: str) -> Iterator[Path]:
    for index, part in enumerate(parts):
        path = into / f"{kind}-{index}.onnx"
        onnx.save(part, str(path))
        yield path
