"""What edgekit's runtime adds to bare onnxruntime: time a frame, import and load, memory.

    python benchmarks/runtime.py [PACKAGE] [--rounds 7]

Both sides run the same file, one thread, each in fresh processes that alternate. The bare side is
the least anyone could write: read the file, make a session, feed it a ready float tensor. Without
PACKAGE the sample detector is converted at 640 first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BARE = """
import sys, time
start = time.perf_counter()
import numpy as np
import onnxruntime as ort
options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(sys.argv[1] + "/model.onnx", options, providers=["CPUExecutionProvider"])
loaded = time.perf_counter() - start
name = session.get_inputs()[0].name
tensor = np.random.default_rng(0).random(session.get_inputs()[0].shape, dtype=np.float32)
def frame():
    session.run(None, {name: tensor})
"""

EDGEKIT = """
import sys, time
start = time.perf_counter()
from edgekit.runtime import load
detector = load(sys.argv[1], threads=1)
loaded = time.perf_counter() - start
import numpy as np
image = np.load(sys.argv[2])
def frame():
    detector(image)
"""

MEASURE = """
for _ in range(5):
    frame()
times = []
for _ in range(int(sys.argv[3])):
    t = time.perf_counter()
    frame()
    times.append(time.perf_counter() - t)
memory = [int(l.split()[1]) / 1024 for l in open("/proc/self/status") if l.startswith("VmHWM")][0]
extra = [] if "detector" not in globals() else phases()
import json
print(json.dumps({"load_ms": loaded * 1e3, "frame_ms": float(np.median(times)) * 1e3, "memory_mb": memory, "extra_ms": extra}))
"""

PHASES = """
def phases():
    own = []
    for _ in range(int(sys.argv[3])):
        a = time.perf_counter(); placement = detector.prepare(image)
        b = time.perf_counter(); outputs = detector.session.run()
        c = time.perf_counter(); detector.postprocess(outputs, placement, image.shape[:2])
        d = time.perf_counter(); own.append(((b - a) * 1e3, (d - c) * 1e3))
    return [float(v) for v in np.median(own, 0)]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("package", nargs="?")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--image", help="a picture (default: an eval image of the sample, at 640)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        package = options.package or converted(Path(folder))
        image = Path(folder) / "image.npy"
        np.save(image, picture(options.image))
        sides = {"bare onnxruntime": BARE + MEASURE, "edgekit.runtime": EDGEKIT + PHASES + MEASURE}
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
        for turn in range(options.rounds):
            for name in sorted(sides, reverse=turn % 2 == 0):
                command = [sys.executable, "-c", sides[name], str(package), str(image), str(options.iterations)]
                run = subprocess.run(
                    command, capture_output=True, text=True, check=True, encoding="utf-8", errors="replace"
                )
                seen[name].append(json.loads(run.stdout))
    report(seen, str(package))


def converted(folder: Path) -> Path:
    from edgekit import convert
    from edgekit.sources.base import SourceOptions

    source = Path(__file__).parent.parent / "samples" / "shapes" / "shapes.safetensors"
    made = convert(source, out=folder, options=SourceOptions(image_size=(640, 640)))
    assert made[0].path is not None
    return made[0].path


def picture(path: str | None) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    from edgekit.runtime.image import read_image, resize

    own = Path(__file__).parent.parent / "samples" / "shapes" / "eval" / "images" / "9002-0003.jpg"
    return read_image(path) if path else resize(read_image(own), (640, 640))


def report(seen: dict[str, list[dict[str, float]]], package: str) -> None:
    def median(name: str, key: str) -> float:
        return float(np.median([r[key] for r in seen[name]]))

    bare, ours = "bare onnxruntime", "edgekit.runtime"
    print(f"{package}, one thread, medians of {len(seen[bare])} launches each, alternating")
    print(f"{'':24} {'bare':>10} {'edgekit':>10} {'ratio':>8}")
    for key, label in (("frame_ms", "frame, ms"), ("load_ms", "import + load, ms"), ("memory_mb", "peak memory, MB")):
        a, b = median(bare, key), median(ours, key)
        print(f"{label:24} {a:10.2f} {b:10.2f} {b / a:8.3f}")
    parts = np.median([r["extra_ms"] for r in seen[ours]], 0)
    print(f"of a frame: {parts[0]:.2f} ms preparing the image, {parts[1]:.2f} ms decoding and suppressing")


if __name__ == "__main__":
    main()
