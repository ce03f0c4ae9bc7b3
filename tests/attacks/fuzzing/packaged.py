"""Readers of packages: manifests, receipts, what engines open, and archives of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.attacks.fuzzing import documents, raw, texts, wires, zips
from tests.attacks.fuzzing.case import Case, Place, Random, Reader
from tests.attacks.fuzzing.sealing import seal_file, seal_receipt

DETECTOR, LITE, TEXT = "detector-cpu-fp32", "lite-tflite-fp32", "text-cpu-fp32"


def _copy(place: Place, name: str) -> Path:
    return Path(shutil.copytree(place.seeds / "packages" / name, place.folder / "package"))


def using(random: Random, place: Place, package: Path, note: str, lie: bool = False) -> Case:
    """One of the verbs that open a package."""
    text = (package / "tokens.bin").exists() if package.is_dir() else False
    picture, path, out = str(place.seeds / "images" / "a.png"), str(package), str(place.out)
    commands = [
        ["inspect", path],
        ["verify", path],
        ["report", path, "-o", f"{out}/r.html"],
        ["inspect", path, "--json"],
        ["doctor", "--package", path],
        ["pack", path, "-o", f"{out}/x.edgepkg"],
    ]
    run = (
        [["generate", path, "-p", "hi", "-n", "2"], ["generate", path, "-p", "hi", "-n", "2", "--chat", "--json"]]
        if text
        else [["detect", path, picture], ["detect", path, picture, "--json", "--save", f"{out}/drawn"]]
    )
    if random.random() < 0.5 or lie:
        return Case(note, random.choice(run), lie=lie, seconds=60.0)
    return Case(note, random.choice(commands), seconds=60.0)


def manifest(random: Random, place: Place) -> Case:
    package = _copy(place, random.choice((DETECTOR, DETECTOR, TEXT, LITE)))
    file = package / "manifest.json"
    document = json.loads(file.read_bytes())
    if random.random() < 0.7:  # the part that decides how numbers are read
        part = random.choice(("model", "model", "engine", "source", "toolchain"))
        text = documents.written(documents.change_part(random, document, part), indent=2)
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
    else:
        file.write_bytes(documents.mutate(random, file.read_bytes()))
    seal_receipt(package)
    return using(random, place, package, "manifest")


def receipt(random: Random, place: Place) -> Case:
    package = _copy(place, random.choice((DETECTOR, TEXT)))
    honest = json.loads((package / "receipt.json").read_bytes())
    if random.random() < 0.8:
        seal_receipt(package, documents.change(random, honest, hostile=False))
    else:
        (package / "receipt.json").write_bytes(documents.mutate(random, (package / "receipt.json").read_bytes()))
    path = str(package)
    return Case(
        "receipt",
        random.choice(
            (
                ["inspect", path],
                ["report", path, "-o", str(place.out / "r.html")],
                ["verify", path],
                ["inspect", path, "--json"],
                ["pack", path, "-o", str(place.out / "x.edgepkg")],
            )
        ),
    )


def detector_graph(random: Random, place: Place) -> Case:
    package = _copy(place, DETECTOR)
    data, lie = wires.mutate(random, (package / "model.onnx").read_bytes(), str(place.secret))
    (package / "model.onnx").write_bytes(data)
    if random.random() < 0.9:
        seal_file(package, "model.onnx")
    return using(random, place, package, "model.onnx", lie)


def tflite(random: Random, place: Place) -> Case:
    package = _copy(place, LITE)
    data = (package / "model.tflite").read_bytes()
    (package / "model.tflite").write_bytes(raw.mutate(random, data, random.choice((None, 40_000))))
    seal_file(package, "model.tflite")
    return using(random, place, package, "model.tflite")


def text_files(random: Random, place: Place) -> Case:
    package = _copy(place, TEXT)
    name = random.choice(
        ("tokenizer.json", "tokenizer_config.json", "tokens.bin", "genai_config.json", "model.onnx", "model.onnx.data")
    )
    data, lie = (package / name).read_bytes(), False
    if name.endswith(".json"):
        data = documents.mutate(random, data)
    elif name == "model.onnx":
        data, lie = wires.mutate(random, data, str(place.secret))
    else:
        data = raw.mutate(random, data, 4096)
    (package / name).write_bytes(data)
    seal_file(package, name)
    return using(random, place, package, name, lie)


_ORDERS = (
    {"custom_ops_library": "evil.so"},
    {"session_options": {"provider_options": [{"cuda": {}}]}},
    {"session_options": {"enable_profiling": "CANARY"}},
    {"session_options": {"custom_ops_library": "/tmp/evil.so"}},
    {"filename": "../../secret"},
    {"pipeline": [{"a": {"filename": "x"}}]},
    {"run_options": {}},
    {"session_options": {"optimized_model_filepath": "CANARY"}},
    {"session_options": {"ep.context_file_path": "CANARY"}},
    {"session_options": {"config_entries": {"session.save_model_format": "ORT"}}},
    {"session_options": {"providers": ["QNN"]}},
)


def genai_config(random: Random, place: Place) -> Case:
    package = _copy(place, TEXT)
    file, lie = package / "genai_config.json", random.random() < 0.5
    if lie:
        document = json.loads(file.read_bytes())
        order = json.loads(json.dumps(random.choice(_ORDERS)).replace("CANARY", str(place.canary)))
        part = random.choice((document["model"]["decoder"], document["model"]["decoder"], document["model"], document))
        for key, value in order.items():
            part[key] = {**part.get(key, {}), **value} if isinstance(value, dict) else value
        file.write_text(json.dumps(document), encoding="utf-8")
    else:
        file.write_bytes(documents.mutate(random, file.read_bytes()))
    seal_file(package, file.name)
    return using(random, place, package, file.name, lie)


def package_template(random: Random, place: Place) -> Case:
    package = _copy(place, TEXT)
    file = package / "chat_template.jinja"
    text = texts.template(random, file.read_text(encoding="utf-8"), str(place.canary))
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    seal_file(package, file.name)
    command = [
        "generate",
        str(package),
        "-p",
        random.choice(("hi", "<|im_end|>", "")),
        "--chat",
        "-n",
        "2",
        *random.choice(((), ("--json",))),
    ]
    return Case("template", command, seconds=60.0)


def archive(random: Random, place: Place) -> Case:
    content = (place.seeds / "detector.edgepkg").read_bytes()

    def change(random: Random, name: str, inside: bytes) -> bytes:
        return documents.mutate(random, inside) if name.endswith(".json") else raw.mutate(random, inside)

    file = place.folder / "p.edgepkg"
    file.write_bytes(zips.mutate(random, content, change))
    if random.random() < 0.5:
        return Case("unpack", ["unpack", str(file), "-o", str(place.out / "into")])
    return using(random, place, file, "archive")


def labels(random: Random, place: Place) -> Case:
    """Files that no JSON describes, and files too many."""
    package = _copy(place, DETECTOR)
    kind = random.randrange(4)
    if kind == 0:
        (package / "labels.txt").write_bytes(raw.mutate(random, (package / "labels.txt").read_bytes()))
        seal_file(package, "labels.txt")
    elif kind == 1:
        name = random.choice(("evil.py", "lib.so", "sitecustomize.py", "a/b.so", "x.pth", "README.md", "model.so.1"))
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text(f"open({str(place.canary)!r}, 'w')", encoding="utf-8")
        if random.random() < 0.7:
            seal_file(package, name)
    elif kind == 2:
        (package / "labels.txt").unlink()
        (package / "labels.txt").symlink_to(random.choice((str(place.secret), "labels.txt", "/dev/zero", "..")))
    else:
        (package / "model.onnx").write_bytes(
            random.choice((b"\x7fELF" + bytes(100), b"#!/bin/sh\n", b"MZ", b"", bytes(2**20)))
        )
        seal_file(package, "model.onnx")
    return using(random, place, package, "files")


READERS: dict[str, Reader] = {
    "manifest": manifest,
    "receipt": receipt,
    "package-files": labels,
    "package-onnx": detector_graph,
    "package-tflite": tflite,
    "package-text": text_files,
    "genai-config": genai_config,
    "package-template": package_template,
    "edgepkg": archive,
}
