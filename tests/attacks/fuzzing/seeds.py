"""The honest inputs that cases are changed from: `python -m tests.attacks.fuzzing.seeds FOLDER [language]`.

Made in a process of its own, since the fuzzer's must start no threads before it forks.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

SIDE = 96  # of images: what a network does with them is not what is looked at; as others of the suite convert it
_NAME = "9002-0003.jpg"


def make(root: Path, language: bool) -> None:
    """`language`: language models as well, which take as long as all the rest."""
    from tests.data import SHAPES

    packages = root / "packages"
    _convert(SHAPES / "shapes.safetensors", "-p", "fp32", "--image-size", SIDE, "-o", packages, "--name", "detector")
    _convert(
        SHAPES / "shapes.safetensors",
        "-t",
        "tflite",
        "-p",
        "fp32",
        "--image-size",
        SIDE,
        "-o",
        packages,
        "--name",
        "lite",
    )
    _detectors(root, SHAPES, packages / "detector-cpu-fp32")
    _texts(root)
    if language:
        _language(root, packages)
    _data(root, SHAPES)
    _ran("pack", packages / "detector-cpu-fp32", "-o", root / "detector.edgepkg")
    _ran(
        "profile", packages / "detector-cpu-fp32", "--launches", 2, "--iterations", 2, "--store", root / "store.sqlite"
    )


def _ran(*arguments: object) -> None:
    from edgekit.cli.main import run

    code = run([str(a) for a in arguments])
    if code:
        raise SystemExit(f"the honest input {arguments} gave exit code {code}")


def _convert(source: Path, *arguments: object) -> None:
    _ran("convert", source, *arguments, "--launches", 0)


def _detectors(root: Path, shapes: Path, package: Path) -> None:
    import onnx
    import torch
    from safetensors.torch import load_file

    shutil.copy(shapes / "shapes.safetensors", root / "m.safetensors")
    torch.save({"model": load_file(str(root / "m.safetensors")), "epoch": 3, "names": {0: "a"}}, root / "m.pt")
    model: Any = onnx.load(str(package / "model.onnx"))
    onnx.save(model, str(root / "m.onnx"))
    (root / "external").mkdir()
    onnx.save(
        model, str(root / "external" / "m.onnx"), save_as_external_data=True, location="m.data", size_threshold=64
    )
    layers = [torch.nn.Conv2d(3, 5, 2, 2), torch.nn.Flatten(2)]
    program = torch.export.export(torch.nn.Sequential(*layers), (torch.zeros(1, 3, SIDE, SIDE),))
    torch.export.save(program, root / "m.pt2")


def _language(root: Path, packages: Path) -> None:
    from safetensors.torch import load_file, save_file

    from tests import gguf_files, language

    folder = language.folder(root / "llama")
    _convert(
        folder,
        *language.RANDOM,
        "-p",
        "fp32",
        "--context",
        128,
        "--eval",
        root / "text.txt",
        "--eval-windows",
        1,
        "-o",
        packages,
        "--name",
        "text",
    )
    gguf_files.write(root / "m.gguf", gguf_files.tiny("llama"), gguf_files.sentencepiece(), "Q4_0")
    sharded = root / "sharded"
    shutil.copytree(folder, sharded)
    tensors = load_file(str(folder / "model.safetensors"))
    (sharded / "model.safetensors").unlink()
    halves: list[dict[str, Any]] = [{}, {}]
    for number, (name, tensor) in enumerate(sorted(tensors.items())):
        halves[number % 2][name] = tensor
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, half in zip(names, halves):
        save_file(half, str(sharded / name), {"format": "pt"})
    placed = {t: n for n, half in zip(names, halves) for t in half}
    index = {"metadata": {"total_size": 1}, "weight_map": placed}
    (sharded / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _texts(root: Path) -> None:
    from tests import language

    language.text_file(root / "text.txt", 300)
    (root / "text.jsonl").write_text('{"text": "once upon a time"}\n"a red fox"\n{"content": "x"}\n', encoding="utf-8")


def _data(root: Path, shapes: Path) -> None:
    from PIL import Image

    coco, yolo, images = root / "coco", root / "yolo", root / "images"
    for folder in (coco / "images", yolo / "images", yolo / "labels", images):
        folder.mkdir(parents=True)
    annotations = next((shapes / "eval").glob("*.json"))
    document = json.loads(annotations.read_text(encoding="utf-8"))
    entries = [e for e in document["images"] if e["file_name"] == _NAME]
    boxes = [a for a in document["annotations"] if a["image_id"] == entries[0]["id"]]
    (coco / "instances.json").write_text(
        json.dumps({"images": entries, "annotations": boxes, "categories": document["categories"]}), encoding="utf-8"
    )
    shutil.copy(shapes / "eval" / "images" / _NAME, coco / "images" / _NAME)
    with Image.open(coco / "images" / _NAME) as picture:
        small = picture.convert("RGB").resize((48, 32))
        for ending in ("jpg", "png", "webp", "bmp"):
            small.save(images / f"a.{ending}")
    shutil.copy(images / "a.png", yolo / "images" / "a.png")
    (yolo / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n1 0.1 0.2 0.3 0.2 0.3 0.4 0.1 0.3\n", encoding="utf-8")
    (yolo / "data.yaml").write_text("nc: 2\nnames: {0: circle, 1: square}\n", encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]), "language" in sys.argv[2:])
