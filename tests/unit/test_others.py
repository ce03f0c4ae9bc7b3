"""What is often taken for a source, and is named by what it is."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.cli.commands import Edgekit
from tests.data import data


def test_a_checkpoint_of_llama2c(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", data("llm/stories260K/stories260K.bin"), "-o", tmp_path / "out")
    assert ran.code == 5 and "llama2.c" in ran.err and "export.py --version -1" in ran.err


def header(*sizes: int) -> bytes:
    return struct.pack("<7i", *sizes)


@pytest.mark.parametrize(("content", "known"), [
    (header(8, 16, 1, 2, 2, 32, 4) + bytes(4 * (32 * 8 + 16 + 256 + 384 + 8 + 16)), True),  # its head is the embedding
    (header(8, 16, 1, 2, 2, -32, 4) + bytes(4 * (2 * 32 * 8 + 16 + 256 + 384 + 8 + 16)), True),  # and here it is not
    (struct.pack("<I", 0x616B3432) + bytes(300), True),
    (header(8, 16, 1, 2, 2, 32, 4) + bytes(400), False),
    (header(8, 16, 1, 0, 2, 32, 4) + bytes(400), False),
    (b"PK\3\4", False),
    (b"", False),
])  # fmt: skip
def test_it_is_known_by_its_header(
    content: bytes, known: bool, edgekit: Edgekit, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    ran = edgekit("convert", tmp_path / "model.bin", "-o", tmp_path / "out")
    assert ran.code == (5 if known else 2) and ("llama2.c" in ran.err) == known


def test_a_folder_that_is_compiled_already(
    text_packages: dict[str, Path], edgekit: Edgekit, tmp_path: Path
) -> None:
    package = text_packages["fp32"]
    ran = edgekit("convert", package, "-o", tmp_path / "out")
    assert ran.code == 2 and "is a package of edgekit already" in ran.err
    (tmp_path / "genai").mkdir()
    for name in ("genai_config.json", "model.onnx", "tokenizer.json"):
        (tmp_path / "genai" / name).write_bytes((package / name).read_bytes())
    ran = edgekit("convert", tmp_path / "genai", "-o", tmp_path / "out")
    assert ran.code == 5 and "compiled already" in ran.err and "checkpoint it was built from" in ran.err
    (tmp_path / "genai/config.json").write_text(
        '{"architectures": ["LlamaForCausalLM"]}', encoding="utf-8"
    )
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
