"""edgekit's TFLite files against those of onnx2tf, the converter people reach for: size, mAP, latency.

    python benchmarks/tflite.py MODEL --calibration IMAGES --eval COCO [--labels coco] [--rounds 7]

Both start from the graph that edgekit prepared, so that outputs mean the same and the comparison
is about conversion and quantisation alone; int8 of the peer is Google's own quantiser with its
default recipes on the same calibration images. Every file is timed by the same bare interpreter,
in fresh processes that take turns. The peer is installed into an environment of its own
(Python 3.12 is what it asks for; it runs on 3.11).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit import convert
from edgekit.cli.arguments import parse_labels
from edgekit.conversion.reading import read_model
from edgekit.data.images import Dataset, read_dataset
from edgekit.model import GraphModel
from edgekit.quantize.calibration import feeds
from edgekit.runtime.detection.detector import Detector
from edgekit.settings import cache_folder
from edgekit.sources.base import SourceOptions
from edgekit.spec import DetectionSpec
from edgekit.tasks.detection.evidence import Images
from edgekit.tflite.inspection import take_inventory

_PEER = ("onnx2tf==2.6.9", "sne4onnx==2.0.1", "sng4onnx==2.0.1")
_PEER_NEEDS = (
    "numpy==2.2.6",
    "onnx==1.20.1",
    "onnxruntime==1.26.0",
    "opencv-python-headless",
    "onnxsim",
    "onnxoptimizer",
    "onnxscript",
    "ai-edge-litert==2.1.2",
    "psutil",
    "protobuf",
    "h5py",
    "ml-dtypes",
    "setuptools",
    "flatbuffers",
    "tqdm",
)
_PEER_CONVERTS = """
import sys, onnx2tf
onnx2tf.convert(input_onnx_file_path=sys.argv[1], output_folder_path=sys.argv[2],
                tflite_backend="flatbuffer_direct", non_verbose=True)
"""
# One launch: the median of its runs, in milliseconds. The same code for every file.
_TIMED = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=int(sys.argv[2]))
interpreter.allocate_tensors()
for detail in interpreter.get_input_details():
    noise = np.random.default_rng(0).random(detail["shape"]) * (1 if detail["dtype"] == np.float32 else 100)
    interpreter.set_tensor(detail["index"], noise.astype(detail["dtype"]))
taken = []
for _ in range(5 + int(sys.argv[3])):
    start = time.perf_counter()
    interpreter.invoke()
    taken.append(time.perf_counter() - start)
print(1e3 * float(np.median(taken[5:])))
"""


@dataclass
class File:
    """One .tflite. `seconds`: what its conversion took; `launches`: medians, in milliseconds."""

    who: str
    precision: str
    path: Path
    seconds: float
    accuracy: float = float("nan")
    broken: str = ""
    launches: list[float] = field(default_factory=list)


class PeerSession:
    """A peer's file behind edgekit's own engine seam; outputs are told apart by their shapes."""

    def __init__(self, path: Path, spec: DetectionSpec, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.threads, self._spec = threads, spec
        self._interpreter = Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        self._in = self._interpreter.get_input_details()[0]
        self._buffer = np.zeros(self._in["shape"], np.float32)

    def input(self, name: str) -> Any:
        return self._buffer

    def run(self, inputs: Any = None) -> dict[str, Any]:
        self._interpreter.set_tensor(self._in["index"], _quantised(self._buffer, self._in))
        self._interpreter.invoke()
        found = {}
        for detail in self._interpreter.get_output_details():
            value = _real(self._interpreter.get_tensor(detail["index"]), detail)
            wanted = next(o for o in self._spec.outputs if np.prod(o.shape) == value.size)
            found[wanted.name] = value if value.shape == wanted.shape else value.swapaxes(1, 2)
        return found

    def close(self) -> None:
        pass


def _quantised(value: Any, detail: Any) -> Any:
    scale, zero = detail["quantization"]
    if not scale:
        return value.astype(detail["dtype"])
    return np.clip(np.rint(value / scale) + zero, -128, 127).astype(detail["dtype"])


def _real(value: Any, detail: Any) -> Any:
    scale, zero = detail["quantization"]
    return (value.astype(np.float32) - zero) * np.float32(scale) if scale else value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--calibration", required=True)
    parser.add_argument("--eval", required=True, dest="eval_")
    parser.add_argument("--labels", default="")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    os.environ["TQDM_DISABLE"] = "1"
    options = parser.parse_args()
    source = SourceOptions(labels=parse_labels(options.labels) if options.labels else ())
    model = read_model(options.model, source)
    images = read_dataset(options.calibration)
    with tempfile.TemporaryDirectory() as folder:
        files = [*ours(options, source, Path(folder)), *theirs(model, images, Path(folder))]
        assert model.spec is not None
        dataset = read_dataset(options.eval_)
        for file in files:
            if file.who != "edgekit":
                try:
                    file.accuracy = accuracy(file, model.spec, dataset)
                except (RuntimeError, ValueError) as error:
                    file.broken = str(error).splitlines()[0]
        for turn in range(options.rounds):
            for file in files if turn % 2 else reversed(files):
                if file.broken:
                    continue
                command = [sys.executable, "-c", _TIMED, str(file.path), str(options.threads), str(options.iterations)]
                run = subprocess.run(
                    command, capture_output=True, text=True, check=True, encoding="utf-8", errors="replace"
                )
                file.launches.append(float(run.stdout))
        report(files, options)


def ours(options: Any, source: SourceOptions, folder: Path) -> list[File]:
    files = []
    for precision in ("fp32", "fp16", "w8", "w8a8"):
        start = time.perf_counter()
        made = convert(
            options.model,
            "tflite",
            precisions=precision,
            out=folder / "edgekit",
            calibration=options.calibration,
            eval=options.eval_,
            options=source,
            launches=0,
            allow=("accuracy",),
        )[0]
        assert made.path is not None
        found = next(m.value for m in made.receipt.measurements if m.name == "mAP50-95")
        taken = time.perf_counter() - start
        files.append(File("edgekit", precision, made.path / "model.tflite", taken, found))
    return files


def theirs(model: GraphModel, images: Dataset, folder: Path) -> list[File]:
    python = peer()
    work = folder / "onnx2tf"
    work.mkdir()
    model.save(work)
    start = time.perf_counter()
    subprocess.run([str(python), "-c", _PEER_CONVERTS, "model.onnx", "out"], cwd=work, check=True, capture_output=True)
    taken = time.perf_counter() - start
    float32, float16 = (work / "out" / f"model_float{bits}.tflite" for bits in (32, 16))
    files = [File("onnx2tf", "fp32", float32, taken), File("onnx2tf", "fp16", float16, taken)]
    for precision, recipe in (("w8", "dynamic_wi8_afp32"), ("w8a8", "static_wi8_ai8")):
        start = time.perf_counter()
        path = work / f"{precision}.tflite"
        path.write_bytes(defaults(float32, recipe, model, images))
        files.append(File("onnx2tf + defaults", precision, path, taken + time.perf_counter() - start))
    return files


def defaults(path: Path, name: str, model: GraphModel, images: Dataset) -> bytes:
    from ai_edge_quantizer import quantizer, recipe

    assert model.spec is not None
    work = quantizer.Quantizer(bytearray(path.read_bytes()), getattr(recipe, name)())
    if not work.need_calibration:
        return bytes(work.quantize(enable_progress_report=False).quantized_model)
    data = [{n: v.transpose(0, 2, 3, 1) for n, v in feed.items()} for feed in feeds(images, model.spec)]
    ranges = work.calibrate({"serving_default": data}, num_threads=2)
    return bytes(work.quantize(ranges, enable_progress_report=False).quantized_model)


def accuracy(file: File, spec: DetectionSpec, dataset: Dataset) -> float:
    size = (1, spec.image.height, spec.image.width, 3)
    image = replace(spec, input=replace(spec.input, dtype="float32", shape=size, layout="NHWC"))
    with Detector(image, PeerSession(file.path, spec, 2)) as detector:
        done = Images(dataset, spec).run(detector, f"{file.who} {file.precision}")
    assert done.accuracy is not None
    return done.accuracy.map


def peer() -> Path:
    """The peer's Python, installed once."""
    folder = cache_folder() / "benchmarks" / "onnx2tf-2.6.9"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--no-deps", "--ignore-requires-python", *_PEER], check=True)
        subprocess.run([*install, *_PEER_NEEDS], check=True)
        (folder / "ready").touch()
    return python


def report(files: list[File], options: Any) -> None:
    print(f"{Path(options.model).name}, {options.threads} thread(s), {options.rounds} launches each, in turns")
    print(f"{'':20} {'':5} {'MB':>6} {'mAP':>6} {'ms':>7} {'edgekit/it':>18} {'transposes':>10} {'s':>5}")
    own = {f.precision: np.array(f.launches) for f in files if f.who == "edgekit"}
    for f in files:
        if f.broken:
            print(f"{f.who:20} {f.precision:5} LiteRT cannot run it: {f.broken[:60]}")
            continue
        ratios = own[f.precision] / np.array(f.launches)
        shown = f"{np.median(ratios):.3f} ({ratios.min():.2f}-{ratios.max():.2f})"
        kinds = take_inventory(f.path.read_bytes()).operators
        print(
            f"{f.who:20} {f.precision:5} {f.path.stat().st_size / 1e6:6.2f} {f.accuracy:6.4f}"
            f" {np.median(f.launches):7.2f} {'' if f.who == 'edgekit' else shown:>18}"
            f" {kinds.get('TRANSPOSE', 0):10} {f.seconds:5.0f}"
        )
    print(json.dumps([{**vars(f), "path": f.path.name} for f in files]), file=sys.stderr)


if __name__ == "__main__":
    main()
