"""A loaded model of each kind: what it takes, what it gives, and of which layers it is made."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx

from edgekit.runtime.engines.libraries import onnxruntime as library
from edgekit_hub_emulator.artefacts import Specs
from edgekit_hub_emulator.failure import JobError

_NODE = re.compile(r"(.*?)(?::OpId_\d+)? \(cycles\)")
_TYPES = {"float": "float32", "double": "float64"}


class Loaded(Protocol):
    kind: str  # what runs it
    unit: str  # CPU, NPU
    inputs: Specs
    outputs: Specs
    compiled_in: float  # seconds that opening it took for compiling

    def run(self, feed: dict[str, Any]) -> dict[str, Any]: ...
    def layers(self) -> list[dict[str, Any]]:
        """With times or cycles where the library tells; the model cannot be run after that."""
        ...


class OnnxModel:
    kind, unit, compiled_in = "ONNX Runtime on this machine's CPU", "CPU", 0.0

    def __init__(self, path: Path, folder: Path) -> None:
        ort = library()
        settings = ort.SessionOptions()
        settings.log_severity_level = 3
        settings.enable_profiling = True
        settings.profile_file_prefix = str(folder / f"profile-{time.monotonic_ns()}")
        try:
            self._session = ort.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise JobError(f"The model cannot be loaded: {_first(error)}", "MODEL_INVALID") from error
        self.inputs, self.outputs = _specs(self._session, {})
        self._runs = 0

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        self._runs += 1
        return _run(self._session, self.outputs, feed)

    def layers(self) -> list[dict[str, Any]]:
        from edgekit.runtime.engines.onnxruntime_operators import read

        events = json.loads(Path(self._session.end_profiling()).read_text(encoding="utf-8"))
        return [
            {"name": o.name, "type": o.kind, "unit": "CPU", "execution_time": round((o.milliseconds or 0) * 1e3)}
            for o in read(events, self._runs, "").operators
        ]


class QnnModel:
    kind, unit = "Qualcomm's NPU simulator", "NPU"

    def __init__(
        self, path: Path, device: Any, folder: Path, quantised: dict[str, Any], compiled_in: float = 0.0
    ) -> None:
        from edgekit_hub_emulator.qualcomm import architecture, session

        made_for = architecture(onnx.load(path, load_external_data=False))
        if made_for > device["htp"]:
            raise JobError(
                f"The context was compiled for Hexagon v{made_for}, and {device['name']} has v{device['htp']}.",
                "DSP_VERSION_MISMATCH",
            )
        self.compiled_in = compiled_in
        self._csv = folder / f"qnn-{time.monotonic_ns()}.csv"
        options = {"profiling_level": "detailed", "profiling_file_path": str(self._csv)}
        try:
            self._session: Any = session(path, {}, options)
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise JobError(f"The context cannot be loaded: {_first(error)}", "QNN_TOOL_ERROR") from error
        self.inputs, self.outputs = _specs(self._session, quantised)

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        return _run(self._session, self.outputs, feed)

    def layers(self) -> list[dict[str, Any]]:
        """Cycles of the simulated processor in the last run."""
        self._session = None  # the file is whole when it is closed
        layers: dict[str, dict[str, Any]] = {}
        if not self._csv.exists():
            return []
        with self._csv.open(newline="") as file:
            for row in csv.DictReader(file):
                match = _NODE.fullmatch(row["Event Identifier"])
                if row["Message"] == "NODE" and match:
                    name = match[1]
                    kind = "" if name.startswith(("Input ", "Output ")) else "QnnOp"
                    layers[name] = {"name": name, "type": kind, "unit": "NPU", "execution_cycles": int(row["Time"])}
        return list(layers.values())


class TfliteModel:
    kind, unit, compiled_in = "LiteRT on this machine's CPU", "CPU", 0.0

    def __init__(self, data: bytes) -> None:
        from edgekit.runtime.engines.libraries import litert as _library
        from edgekit.runtime.engines.libraries import quiet

        self._data, self._library = data, _library()
        try:
            with quiet():
                self._interpreter = self._library.Interpreter(model_content=data)
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise JobError(f"The .tflite cannot be loaded: {_first(error)}", "MODEL_INVALID") from error
        self._in = {self._name(d): d for d in self._interpreter.get_input_details()}
        self._out = {self._name(d): d for d in self._interpreter.get_output_details()}
        self.inputs = [_tensor(n, d) for n, d in self._in.items()]
        self.outputs = [_tensor(n, d) for n, d in self._out.items()]

    def _name(self, detail: Any) -> str:
        return str(detail["name"]).removeprefix("serving_default_").removesuffix(":0")

    def run(self, feed: dict[str, Any]) -> dict[str, Any]:
        for name, value in feed.items():
            self._interpreter.set_tensor(self._in[name]["index"], value)
        self._interpreter.invoke()
        return {n: self._interpreter.get_tensor(d["index"]) for n, d in self._out.items()}

    def layers(self) -> list[dict[str, Any]]:
        from edgekit.runtime.engines.litert_operators import arrange

        arrangement = arrange(self._library, self._data, 1)
        return [{"name": o.name, "type": o.kind, "unit": "CPU"} for o in arrangement.operators] if arrangement else []


def _specs(session: Any, quantised: dict[str, Any]) -> tuple[Specs, Specs]:
    def read(values: Any) -> Specs:
        rows = []
        for value in values:
            kind = value.type.removeprefix("tensor(").removesuffix(")")
            spec = {
                "name": value.name,
                "dtype": _TYPES.get(kind, kind),
                "shape": [d if isinstance(d, int) else 0 for d in value.shape],
            }
            if value.name in quantised:
                spec["scale"], spec["zero_point"] = quantised[value.name]
            rows.append(spec)
        return rows

    return read(session.get_inputs()), read(session.get_outputs())


def _run(session: Any, outputs: Specs, feed: dict[str, Any]) -> dict[str, Any]:
    names = [o["name"] for o in outputs]
    try:
        return dict(zip(names, session.run(names, feed)))
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise JobError(f"The model cannot be run: {_first(error)}", "RUNTIME_UNKNOWN") from error


def _tensor(name: str, detail: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": name,
        "dtype": np.dtype(detail["dtype"]).name,
        "shape": [int(d) for d in detail["shape"]],
    }
    scale, zero = detail["quantization"]
    if scale:
        spec["scale"], spec["zero_point"] = float(scale), int(zero)
    return spec


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][-300:]
