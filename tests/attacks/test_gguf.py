"""GGUF files that are cut short, made up or of something else: one clear error each, at once."""

from __future__ import annotations

import contextlib
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgekit.errors import SourceError, UsageError
from edgekit.sources.base import SourceOptions
from edgekit.sources.gguf import GgufSource
from edgekit.sources.gguf_header import read_gguf
from tests.gguf_files import byte_level, hf_tensors, read, sentencepiece, tiny, write

STRING, ARRAY, UINT32 = 8, 9, 4
SECONDS, BYTES = 5.0, 64 * 2**20


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gguf") / "whole.gguf", tiny("llama"), sentencepiece(), "Q4_0")


def refused(path: Path) -> str:
    """What the error says; it must be a SourceError, quick, and must not take memory."""
    torch.manual_seed(0)  # imports what is imported lazily, before memory is counted
    tracemalloc.start()
    start = time.monotonic()
    try:
        with pytest.raises(SourceError) as caught:
            GgufSource().read(str(path), SourceOptions(), path.parent / "files")
        assert time.monotonic() - start < SECONDS
        assert tracemalloc.get_traced_memory()[1] < BYTES
    finally:
        tracemalloc.stop()
    assert not (path.parent / "files").exists()
    said = str(caught.value)
    assert len(said) < 1000 and "why:" in said and "next:" in said and said.isascii()
    return said


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def entry(name: str, dimensions: tuple[int, ...], kind: int = 0, offset: int = 0, count: int | None = None) -> bytes:
    sizes = struct.pack(f"<{len(dimensions)}Q", *dimensions)
    stated = len(dimensions) if count is None else count
    return text(name) + struct.pack("<I", stated) + sizes + struct.pack("<IQ", kind, offset)


def header(
    keys: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (entry("a", (32,)),),
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    counts: tuple[int, int] | None = None,
    order: str = "<",
    tail: int = 4096,
) -> bytes:
    stated = counts or (len(tensors), len(keys))
    return magic + struct.pack(f"{order}IQQ", version, *stated) + b"".join((*keys, *tensors)) + bytes(tail)


HUGE = 2**63 + 5
CASES: dict[str, tuple[bytes, str]] = {
    "magic": (header(magic=b"GGML"), "is not a GGUF file"),
    "big-endian": (header(order=">"), "big-endian"),
    "version 1": (header(version=1), "version 1"),
    "version 9": (header(version=9), "version 9"),
    "many tensors": (header(counts=(HUGE, 0)), f"{HUGE} tensors"),
    "many keys": (header(counts=(1, HUGE)), f"{HUGE} keys"),
    "more tensors than fit": (header(counts=(500, 0)), "500 tensors"),
    "no tensors": (header(counts=(0, 0)), "no tensors"),
    "long key": (header(keys=(struct.pack("<Q", HUGE),), counts=(1, 1)), f"{HUGE} bytes long"),
    "negative length": (header(keys=(struct.pack("<q", -1),), counts=(1, 1)), "bytes long"),
    "long text": (header(keys=(key("a", STRING, struct.pack("<Q", 2**24)),)), "cut short"),
    "text past the end": (header(keys=(key("a", STRING, struct.pack("<Q", 2**40)),)), "bytes long"),
    "long list": (header(keys=(key("a", ARRAY, struct.pack("<IQ", UINT32, 2**62)),)), "would hold"),
    "list past the end": (header(keys=(key("a", ARRAY, struct.pack("<IQ", UINT32, 2**23)),)), "cut short"),
    "many texts": (header(keys=(key("a", ARRAY, struct.pack("<IQ", STRING, 2**22)),)), "4194304 texts"),
    "nested list": (header(keys=(key("a", ARRAY, struct.pack("<IQ", ARRAY, 1)),)), "values of type 9"),
    "unknown type": (header(keys=(key("a", 77, b""),)), "unknown type 77"),
    "list of unknown type": (header(keys=(key("a", ARRAY, struct.pack("<IQ", 99, 5)),)), "values of type 99"),
    "the same key twice": (header(keys=(key("a", 7, b"\1"), key("a", 7, b"\1"))), "'a' twice"),
    "text of no encoding": (header(keys=(key("a", STRING, struct.pack("<Q", 2) + b"\xff\xfe"),)), "not UTF-8"),
    "alignment 0": (header(keys=(key("general.alignment", UINT32, bytes(4)),)), "alignment is 0"),
    "alignment 48": (header(keys=(key("general.alignment", UINT32, struct.pack("<I", 48)),)), "alignment is 48"),
    "alignment text": (header(keys=(key("general.alignment", STRING, text("32")),)), "alignment is 32"),
    "no dimensions": (header(tensors=(entry("a", ()),)), "0 dimensions"),
    "many dimensions": (header(tensors=(entry("a", (1,), count=2**31),)), "dimensions"),
    "a dimension of 0": (header(tensors=(entry("a", (0, 4)),)), "(4, 0)"),
    "a large dimension": (header(tensors=(entry("a", (HUGE, HUGE)),)), "would end at byte"),
    "no whole blocks": (header(tensors=(entry("a", (33,), kind=2),)), "blocks of 32"),
    "unknown format": (header(tensors=(entry("a", (32,), kind=250),)), "type 250"),
    "far offset": (header(tensors=(entry("a", (32,), offset=2**62),)), "would end at byte"),
    "odd offset": (header(tensors=(entry("a", (32,), offset=8),)), "not aligned"),
    "the same tensor twice": (header(tensors=(entry("a", (32,)), entry("a", (32,), offset=128))), "'a' twice"),
    "tensors that overlap": (header(tensors=(entry("a", (64,)), entry("b", (32,), offset=128))), "overlap"),
    "no architecture": (header(), "architecture 'None'"),
    "terminal codes": (header(keys=(key("general.architecture", STRING, text("\x1b[31mx")),)), "x1b[31mx"),
}


@pytest.mark.parametrize("name", CASES)
def test_made_up_headers(name: str, tmp_path: Path) -> None:
    content, why = CASES[name]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert why in refused(path)


def test_files_cut_at_any_place(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    path = tmp_path / "cut.gguf"
    first = min(t.start for t in read_gguf(str(whole)).tensors.values())
    places = [*range(1, 80), *range(80, first, first // 60), *range(first, len(content) - 32, len(content) // 40)]
    for place in places:
        path.write_bytes(content[:place])
        said = refused(path)
        assert "cut short" in said or "damaged" in said or "not a GGUF" in said, (place, said)


def test_bytes_changed_at_random(whole: Path, tmp_path: Path) -> None:
    content = whole.read_bytes()
    first = min(t.start for t in read_gguf(str(whole)).tensors.values())
    random = np.random.default_rng(5)
    path = tmp_path / "changed.gguf"
    for _ in range(150):
        changed = bytearray(content)
        for place in random.integers(0, first, random.integers(1, 4)):
            changed[place] = random.integers(0, 256)
        path.write_bytes(changed)
        with contextlib.suppress(SourceError):  # and no other error
            read(path)


def test_a_file_that_is_empty_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "e.gguf").touch()
    with pytest.raises(SourceError, match="is empty"):
        read(tmp_path / "e.gguf")
    with pytest.raises(UsageError, match="There is no file"):
        read(tmp_path / "none.gguf")


LLAMA: dict[str, tuple[dict[str, Any], str]] = {
    "another architecture": ({"changed": {"general.architecture": "mamba"}}, "'mamba'"),
    "a tensor missing": ({"leave_out": ("blk.1.ffn_up.weight",)}, "model.layers.1.mlp.up_proj.weight"),
    "a norm missing": ({"leave_out": ("output_norm.weight",)}, "model.norm.weight"),
    "no embedding": ({"leave_out": ("token_embd.weight",)}, "no embedding"),
    "a tensor too many": ({"extra": {"blk.0.other.weight": np.zeros((2, 32), np.float32)}}, "'blk.0.other.weight'"),
    "experts": ({"extra": {"blk.0.ffn_gate_inp.weight": np.zeros((4, 64), np.float32)}}, "no place in it"),
    "a bias of one layer": ({"extra": {"blk.1.attn_q.bias": np.zeros(64, np.float32)}}, "no place in it"),
    "more tokens than rows": (
        {"changed": {"tokenizer.ggml.tokens": [str(i) for i in range(999)], "tokenizer.ggml.token_type": [1] * 999}},
        "999 tokens",
    ),
    "many layers": ({"changed": {"llama.block_count": 2**31 - 1}}, "2147483647 layers"),
    "too few layers": ({"changed": {"llama.block_count": 1}}, "no place in it"),
    "no layers": ({"changed": {"llama.block_count": 0}}, "block_count is 0"),
    "layers as text": ({"changed": {"llama.block_count": "2"}}, "block_count is 2"),
    "no heads": ({"changed": {"llama.attention.head_count": None}}, "attention.head_count missing"),
    "heads that differ": ({"changed": {"llama.attention.head_count": [4, 2]}}, "is a list"),
    "other heads": ({"changed": {"llama.attention.head_count": 8}}, "(64, 64)"),
    "large heads": (
        {"changed": {"llama.attention.key_length": 2**30, "llama.attention.value_length": 2**30}},
        "attn_q.weight",
    ),
    "a wide model": ({"changed": {"llama.embedding_length": 2**30}}, "token_embd.weight"),
    "an odd epsilon": ({"changed": {"llama.attention.layer_norm_rms_epsilon": float("nan")}}, "epsilon is nan"),
    "unknown scaling": ({"changed": {"llama.rope.scaling.type": "su"}}, "'su'"),
    "factors of another size": ({"extra": {"rope_freqs.weight": np.full(3, 2, np.float32)}}, "rope_freqs.weight"),
    "a long token": (
        {"changed": {"tokenizer.ggml.tokens": ["x" * 5000], "tokenizer.ggml.token_type": [1]}},
        "longer than",
    ),
    "a token twice": (
        {"changed": {"tokenizer.ggml.tokens": ["a", "a"], "tokenizer.ggml.token_type": [1, 1]}},
        "same token twice",
    ),
    "scores missing": ({"changed": {"tokenizer.ggml.scores": None}}, "number of scores"),
}


@pytest.mark.parametrize("name", LLAMA)
def test_models_that_are_not_what_they_say(name: str, tmp_path: Path) -> None:
    given, why = LLAMA[name]
    assert why in refused(write(tmp_path / "m.gguf", tiny("llama"), sentencepiece(), **given))


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    model = tiny("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[3, 5] = float("inf")
    path = write(tmp_path / "m.gguf", model, sentencepiece())
    with pytest.raises(SourceError, match="damaged"):
        GgufSource().network(read(path), "float32")


def test_a_part_of_another_model(tmp_path: Path) -> None:
    model, names = tiny("llama"), list(hf_tensors(tiny("llama")))
    for index, left in enumerate((names[9:], names[:9])):
        changed = {"split.no": 0, "split.count": 2}  # both say they are the first
        path = tmp_path / f"m-{index + 1:05d}-of-00002.gguf"
        write(path, model, sentencepiece(), changed=changed, leave_out=tuple(left))
    assert "does not belong" in refused(path)


def test_a_template_is_kept_as_text_and_never_run(tmp_path: Path) -> None:
    bad = "{{ ''.__class__.__mro__[1].__subclasses__() }}{% for i in range(10**12) %}x{% endfor %}"
    model = read(write(tmp_path / "t.gguf", tiny("qwen3"), byte_level(), changed={"tokenizer.chat_template": bad}))
    assert (model.folder / "chat_template.jinja").read_text(encoding="utf-8") == bad
