"""Whether another edgekit, of an earlier commit say, makes the same packages of the same sources.

    python -m tests.same_artefacts --other /path/to/other/.venv/bin/edgekit [KIND …]

Converts one source of each kind with this edgekit and with the other, each with a cache of its own, and compares the
bytes of the artefacts and the numbers in the receipts, times and memory apart. ONNX files are compared without the
version of what wrote them: onnxruntime-genai's builder put the commit of any repository around it there. Exits with 1
where they differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

from tests import gguf_files
from tests.data import ROOT, SHAPES, data

TIMED = ("latency", "speed", "memory")
OWN = Path(sys.executable).with_name("edgekit")


def cases(folder: Path) -> dict[str, list[object]]:
    """By kind of source, what `convert` is asked."""
    boxes = ["--eval", data("images/coco128_val2017"), "--eval-images", 16]
    ranges = ["--calibration", data("images/coco32_train2017"), "--calibration-images", 8]
    text = ["--eval", data("text/tinystories_valid_5stories_endoftext.txt"), "--eval-windows", 2]
    return {
        "sample": [
            SHAPES / "shapes.safetensors",
            "-p",
            "fp32",
            "-p",
            "w8a8",
            "--calibration",
            SHAPES / "calibration",
            "--eval",
            SHAPES / "eval",
        ],
        "sample tflite": [SHAPES / "shapes.safetensors", "-t", "tflite", "-p", "fp16", "-p", "w8"],
        "sample snapdragon": [
            SHAPES / "shapes.safetensors",
            "-t",
            "snapdragon-8-elite",
            "-p",
            "w8a16",
            "--calibration",
            SHAPES / "calibration",
            "--simulated-images",
            1,
        ],
        "yolov9 .pt": [
            data("yolov9t_coco/mit_v9-t_coco_usegroupFalse.pt"),
            "-p",
            "fp32",
            "-p",
            "w8a8",
            "--float-layers",
            2,
            "--image-size",
            320,
            *boxes,
            *ranges,
        ],
        "onnx": [data("detectors/yolox_nano/yolox_nano.onnx"), "--labels", "coco", *boxes],
        "hugging face": [data("llm/stories260K/hf"), "-p", "fp32", "-p", "w8", "-p", "w4", *text],
        "gguf": [
            gguf_files.write(folder / "m.gguf", gguf_files.tiny("llama"), gguf_files.sentencepiece(), "Q4_0"),
            "-p",
            "fp32",
            "--allow",
            "misread",
        ],
        "bitnet": [ROOT / "samples" / "relief" / "model", "-p", "ternary"],
    }


def package(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Of one package: its artefacts' hashes, and its receipt's numbers by group, name and device."""
    manifest, receipt = (
        json.loads((folder / f"{n}.json").read_text(encoding="utf-8")) for n in ("manifest", "receipt")
    )
    numbers = {
        f"{m['group']}: {m['name']} {m.get('device', '')}": m["value"]
        for m in receipt["measurements"]
        if m["group"] not in TIMED
    }
    return {n: _digest(folder / n) for n in manifest["files"]}, numbers


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".onnx":
        model = onnx.load_model_from_string(content)
        model.producer_version = ""
        content = model.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()


def converted(edgekit: Path, words: list[object], work: Path, cache: Path) -> Path:
    environment = {**os.environ, "EDGEKIT_CACHE": str(cache), "EDGEKIT_QUIET": "1"}
    command = [edgekit, "convert", *map(str, words), "--launches", "0", "--allow", "accuracy", "-o", work]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return work


def differences(ours: Path, theirs: Path) -> Iterator[str]:
    names = sorted({p.name for folder in (ours, theirs) for p in folder.iterdir()})
    for name in names:
        if not ((ours / name).is_dir() and (theirs / name).is_dir()):
            yield f"{name} was made by one of them"
            continue
        for mine, other in zip(package(ours / name), package(theirs / name)):
            for key in sorted(mine.keys() | other.keys()):
                if mine.get(key) != other.get(key):
                    yield f"{name}: {key}: {mine.get(key)} here, {other.get(key)} there"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--other", type=Path, required=True, help="the other edgekit command")
    parser.add_argument("kinds", nargs="*")
    options = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory(prefix="edgekit-same-") as temporary:
        root = Path(temporary)
        for kind, words in cases(root).items():
            if options.kinds and kind not in options.kinds:
                continue
            folders = [
                converted(edgekit, words, root / side / kind, root / f"{side}-cache")
                for side, edgekit in (("here", OWN), ("there", options.other))
            ]
            count = sum(len(package(p)[0]) for p in folders[0].iterdir())
            wrong = list(differences(*folders))
            print(
                f"{kind}: {len(wrong)} differences in {count} files and their receipts", *wrong, sep="\n  ", flush=True
            )
            worst = max(worst, bool(wrong))
    return worst


if __name__ == "__main__":
    sys.exit(main())
