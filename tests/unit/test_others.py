"""What is often taken for a source, and is named by what it is."""

from __future__ import annotations

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests import language
from tests.cli.commands import Edgekit
from tests.data import data


def test_a_checkpoint_of_llama2c(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", data("llm/stories260K/stories260K.bin"), "-o", tmp_path / "out")
    assert ran.code == 5 and "llama2.c" in ran.err and "export.py --version -1" in ran.err


def header(*sizes: int) -> bytes:
    return struct.pack("<7i", *sizes)


@pytest.mark.parametrize(
    ("content", "known"),
    [
        (
            header(8, 16, 1, 2, 2, 32, 4) + bytes(4 * (32 * 8 + 16 + 256 + 384 + 8 + 16)),
            True,
        ),  # its head is the embedding
        (
            header(8, 16, 1, 2, 2, -32, 4) + bytes(4 * (2 * 32 * 8 + 16 + 256 + 384 + 8 + 16)),
            True,
        ),  # and here it is not
        (struct.pack("<I", 0x616B3432) + bytes(300), True),
        (header(8, 16, 1, 2, 2, 32, 4) + bytes(400), False),
        (header(8, 16, 1, 0, 2, 32, 4) + bytes(400), False),
        (b"PK\3\4", False),
        (b"", False),
    ],
)
def test_it_is_known_by_its_header(content: bytes, known: bool, edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    ran = edgekit("convert", tmp_path / "model.bin", "-o", tmp_path / "out")
    assert ran.code == (5 if known else 2) and ("llama2.c" in ran.err) == known


def test_a_folder_that_is_compiled_already(text_packages: dict[str, Path], edgekit: Edgekit, tmp_path: Path) -> None:
    package = text_packages["fp32"]
    ran = edgekit("convert", package, "-o", tmp_path / "out")
    assert ran.code == 2 and "is a package of edgekit already" in ran.err
    (tmp_path / "genai").mkdir()
    for name in ("genai_config.json", "model.onnx", "tokenizer.json"):
        (tmp_path / "genai" / name).write_bytes((package / name).read_bytes())
    ran = edgekit("convert", tmp_path / "genai", "-o", tmp_path / "out")
    assert ran.code == 5 and "compiled already" in ran.err and "checkpoint it was built from" in ran.err
    (tmp_path / "genai/config.json").write_text('{"architectures": ["LlamaForCausalLM"]}', encoding="utf-8")
    ran = edgekit("convert", tmp_path / "genai", "-o", tmp_path / "out")
    assert ran.code == 5 and "compiled already" in ran.err


def test_a_file_of_a_vocabulary_only(edgekit: Edgekit, tmp_path: Path) -> None:
    """llama.cpp has them for its tests: metadata, and no weights."""
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "ggml-vocab.gguf", "llama")
    writer.add_token_list([f"t{i}" for i in range(2000)])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    ran = edgekit("convert", tmp_path / "ggml-vocab.gguf", "-o", tmp_path / "out")
    assert ran.code == 5 and "holds no weights" in ran.err and "vocabulary only" in ran.err
    assert "damaged" not in ran.err


def story(path: Path) -> Path:
    shutil.copytree(language.stories(), path, copy_function=shutil.copyfile)
    path.chmod(0o755)
    return path


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"


def emptied(folder: Path, **files: str) -> Path:
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name.replace("_gguf", ".gguf").replace("_json", ".json")).write_text(content)
    return folder


PARTS: dict[str, tuple[Callable[[Path], Path], int, str]] = {
    "its weights": (lambda f: f / "model.safetensors", 2, "is a part of a model"),
    "its config": (lambda f: f / "config.json", 2, "is a part of a model"),
    "an adapter": (lambda f: emptied(f, adapter_config_json="{}"), 5, "is an adapter"),
    "its authors' layout": (lambda f: emptied(f, params_json="{}"), 5, "layout of its authors"),
    "several files": (lambda f: emptied(f, a_gguf="GGUF", b_gguf="GGUF"), 2, "a folder of GGUF files: a.gguf, b.gguf"),
    "a pointer": (lambda f: f / str((f / "model.safetensors").write_text(POINTER) and "."), 5, "pointer of Git LFS"),
    "a tokenizer that is one": (lambda f: f / str((f / "tokenizer.json").write_text(POINTER) and "."), 5, "of Git LFS"),
    "empty weights": (lambda f: f / str((f / "model.safetensors").write_text("") or "."), 5, "no.* safetensors file"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_a_language_model(name: str, edgekit: Edgekit, tmp_path: Path) -> None:
    make, code, words = PARTS[name]
    ran = edgekit("convert", make(story(tmp_path / "model")), "-o", tmp_path / "out")
    assert ran.code == code and re.search(words, ran.err), ran.err
    assert "next:" in ran.err


@pytest.mark.parametrize("also", [{}, {"quantization_config": {"group_size": 64, "bits": 4}}])
def test_a_folder_of_mlx(also: dict[str, object], edgekit: Edgekit, tmp_path: Path) -> None:
    folder = story(tmp_path / "model")
    held = load_file(folder / "model.safetensors")
    layer = "model.layers.0.mlp.up_proj"
    held[f"{layer}.weight"] = torch.zeros(172, 8, dtype=torch.int32)
    held |= {f"{layer}.scales": torch.ones(172, 1), f"{layer}.biases": torch.ones(172, 1)}
    save_file(held, folder / "model.safetensors", {"format": "mlx"})
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    said |= {"quantization": {"group_size": 64, "bits": 4}, **also}
    (folder / "config.json").write_text(json.dumps(said), encoding="utf-8")
    ran = edgekit("convert", folder, "-o", tmp_path / "out")
    assert ran.code == 5 and "MLX" in ran.err and "float original" in ran.err
