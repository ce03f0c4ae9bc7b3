"""Compile a graph to a QNN context: what the NPU loads, wrapped as one EPContext node in an .onnx.

https://onnxruntime.ai/docs/execution-providers/EP-Context-Design.html
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from edgekit.errors import ConversionError
from edgekit.runtime.engines.libraries import onnxruntime as library
from edgekit.runtime.engines.qnn import compiler, provider
from edgekit.runtime.native import output_to
from edgekit.target import Chip

_COMPATIBILITY = "ep_compatibility_info.QNNExecutionProvider"
_UNSAID = "0"  # architectures newer than what the provider has names for
_VERBOSE, _QUIET = 0, 4  # ONNX Runtime's log levels
_UNIT = re.compile(r"Validation FAILED for \d+ nodes in OrtNodeUnit \((\w+)\) :\n(.*?)REASON : ([^\n]*)", re.S)
_NODE = re.compile(r"Operator type: (\S+) Node name: (.*?) Node index:")


@dataclass(frozen=True)
class Unplaced:
    """A node that the NPU does not take, and what the compiler says of it."""

    node: str
    kind: str
    why: str


class PlacementError(ConversionError):
    """Part of the graph does not fit on the NPU; `nodes` say which."""

    def __init__(self, nodes: tuple[Unplaced, ...], *text: str) -> None:
        super().__init__(*text)
        self.nodes = nodes


def compile_context(
    graph: onnx.ModelProto, chip: Chip, names: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None
) -> bytes:
    """The .onnx that holds the context of `graph` for `chip`, inputs and outputs as in `graph`.

    `names`: what the user calls the graph's nodes. `options`: more of the execution provider's.
    Raises PlacementError for nodes the NPU lacks, ConversionError for other refusals.
    """
    data = graph.SerializeToString()
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "context.onnx"
        try:
            with output_to(Path(folder) / "log"):
                _session(data, chip, path, dict(options or {}), _QUIET)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise _explained(data, chip, dict(options or {}), dict(names or {}), error) from error
        content = path.read_bytes()
    _check_chip(content, chip)
    return content


def _check_chip(model: bytes, chip: Chip) -> None:
    """Checks that a context is for this chip: the compiler silently takes a name that it does not know for v68.
    It writes down the numbers it was given whether or not chip and architecture belong together; that those of
    the built-in targets do is tested against its own tables."""
    metadata = {p.key: p.value for p in onnx.load_from_string(model).metadata_props}
    fields = metadata.get(_COMPATIBILITY, "").split(":")  # v2:backend:QAIRT:API:architecture:chip:…
    if len(fields) < 6 or fields[4] not in (str(chip.htp), _UNSAID) or fields[5] != str(chip.soc_id):
        what = f"Hexagon v{fields[4]}, chip {fields[5]}" if len(fields) > 5 else "nothing of its chip"
        raise ConversionError(
            f"{compiler()} did not compile for {chip.soc}",
            f"asked for Hexagon v{chip.htp}, chip {chip.soc_id}, its result says {what}",
            "check htp and soc_id of the target's [chip]; edgekit targets lists those known to be right",
        )


def _session(data: bytes, chip: Chip, path: Path, more: dict[str, str], log: int) -> None:
    ort = library()
    settings = ort.SessionOptions()
    settings.log_severity_level = log
    for key, value in (
        ("session.disable_cpu_ep_fallback", "1"),
        ("ep.context_enable", "1"),
        ("ep.context_file_path", str(path)),
        ("ep.context_embed_mode", "1"),
    ):
        settings.add_session_config_entry(key, value)
    settings.add_provider_for_devices(
        [provider()],
        {
            "backend_type": "htp",
            "soc_model": str(chip.soc_id),
            "htp_arch": str(chip.htp),
            "htp_graph_finalization_optimization_mode": "3",
            **more,
        },
    )
    ort.InferenceSession(data, settings)


def _explained(
    data: bytes, chip: Chip, options: dict[str, str], names: dict[str, str], error: Exception
) -> ConversionError:
    """The compiler's log of a second run in which it reports everything."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        log = Path(folder) / "log"
        with contextlib.suppress(Exception), output_to(log):
            _session(data, chip, Path(folder) / "context.onnx", options, _VERBOSE)
        text = log.read_text(errors="replace", encoding="utf-8")
    if "QNN_DEVICE_ERROR_INVALID_CONFIG" in text:
        return ConversionError(
            f"{compiler()} does not know {chip.soc}",
            f"there is no chip {chip.soc_id} in its tables",
            "check soc_id of the target's [chip]: edgekit targets lists those it knows",
        )
    nodes = tuple(dict.fromkeys(_unplaced(text)))
    if nodes:
        listed = "; ".join(f"{names.get(n.node) or n.node} ({n.kind}): {n.why}" for n in nodes[:8])
        more = f"; and {len(nodes) - 8} more" if len(nodes) > 8 else ""
        kinds = ", ".join(sorted({n.kind for n in nodes}))
        return PlacementError(
            nodes,
            f"{len(nodes)} nodes do not fit on the NPU of {chip.soc}: {kinds}",
            listed + more,
            "export the model without them, try another precision, or convert it for -t android-cpu",
        )
    return ConversionError(
        f"{compiler()} cannot compile this for {chip.soc}",
        str(error).splitlines()[0][-300:],
        "try another precision" + ("" if chip.fp16 else f" (the NPU of {chip.soc} has no floating point)"),
    )


def _unplaced(log: str) -> Iterator[Unplaced]:
    for kind, nodes, why in _UNIT.findall(log):
        for operator, name in _NODE.findall(nodes):
            if operator == kind:
                reason = why.split(f"{kind} node `")[0].strip() or "not supported"
                yield Unplaced(name, kind, reason)
