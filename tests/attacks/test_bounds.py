"""Small files that would take all memory, all time or the stack: each reader keeps to a multiple of its file."""

from __future__ import annotations

import io
import json
import pickle
import resource
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import DataError, EdgekitError, SourceError
from edgekit.sources.pickle_bounds import PickleError
from edgekit.sources.pickle_machine import Machine
from edgekit.sources.pickle_reader import read_checkpoint
from edgekit.system.child import Child, ChildError
from tests import language
from tests.cli.commands import Edgekit
from tests.data import SHAPES

MORE = 1 << 30  # bytes of address space that a reader may take beyond what the process has


def checkpoint(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", content)
    return path


def nested(open_: bytes, close: bytes, depth: int) -> bytes:
    return b"\x80\x02" + open_ * depth + close * depth + b"."


def doubled(times: int, kind: bytes) -> bytes:
    """A value of two copies of a value of two copies …: bytes that unfold to 2 ** times values."""
    return b"\x80\x02" + b"N" + (b"q\x00h\x00" + kind) * times + b"."


PICKLES = {
    "a memo without end": b"\x80\x02Nr\x00\x00\x00\x20.",
    "a memo of text": b"Np536870912\n.",
    "nested lists": nested(b"](", b"e", 50_000),
    "nested tuples": nested(b"N", b"", 1)[:3] + b"\x85" * 50_000 + b".",
    "a deep key": b"\x80\x02}N" + b"\x85" * 50_000 + b"Ns.",
    "a key that unfolds": b"\x80\x02}N" + b"q\x00h\x00\x86" * 60 + b"Ns.",
    "a set of deep keys": b"\x80\x04\x8f(N" + b"\x85" * 50_000 + b"\x90.",
    "a value that unfolds": doubled(60, b"\x86"),
    "a list that holds itself": b"\x80\x02]q\x00h\x00a.",
    "a reference that unfolds": b"\x80\x02N" + b"q\x00h\x00\x86" * 60 + b"Q.",
    "text of a nested list": b"c__builtin__\nstr\n]" + b"q\x00h\x00\x86" * 60 + b"\x85R.",
    "bytes by number": b"c__builtin__\nbytearray\nI1000000000000\n\x85R.",
    "a number of a million digits": b"c__builtin__\nint\nX" + struct.pack("<I", 10**6) + b"9" * 10**6 + b"\x85R.",
    "a long number": b"I" + b"9" * 100_000 + b"\n.",
    "a string that is not there": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x.",
    "opcodes without end": b"\x80\x02" + b"N0" * 2_500_000 + b"N.",
    "copies of a list": b"(" + b"N" * 100_000 + b"lq\x00" + b"c__builtin__\nlist\nh\x00\x85R" * 200 + b"t.",
    "copies of bytes": b"B"
    + struct.pack("<I", 10**6)
    + bytes(10**6)
    + b"q\x000"
    + b"c__builtin__\nbytearray\nh\x00\x85R" * 50
    + b".",
    "an extension": b"\x82\x01.",
    "a mark that is not there": b"t.",
    "nothing": b".",
}


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_without_bounds(name: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    file = checkpoint(tmp_path / "x.pt", PICKLES[name])
    if name.startswith("a memo"):  # its indices are only names
        assert read_checkpoint(file) is None
    else:
        with pytest.raises(SourceError, match=r"x\.pt"):
            read_checkpoint(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MORE // 1024


class _Values:
    """What a pickle of plain values asks for."""

    def name(self, module: str, name: str) -> Any:
        raise PickleError(f"{module}.{name}")

    call = make = set_state = reference = name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value", [None, True, -5, 2**70, 1.5, "text \u00e9\U0001f600", [1, [2, (3, 4, 5, 6)]], {"a": {1: (2,)}}, ()]
)
def test_plain_pickles_are_what_python_reads(value: Any, protocol: int) -> None:
    assert Machine(_Values()).load(pickle.dumps(value, protocol)) == value


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language.folder(tmp_path_factory.mktemp("good") / "model")


CONFIGS: dict[str, dict[str, Any]] = {
    "layers": {"num_hidden_layers": 1_000_000},
    "a width": {"hidden_size": 10**9},
    "a vocabulary": {"vocab_size": 2**40},
    "positions": {"max_position_embeddings": 10**15},
    "tensors that are not there": {"intermediate_size": 1_500_000},
    "a negative number": {"num_hidden_layers": -1},
    "text for a number": {"num_attention_heads": "many"},
    "architectures of numbers": {"architectures": [5]},
    "architectures that are none": {"architectures": {"a": 1}},
    "a nested part": {"rope_scaling": [[[[]]]]},
    "null for all": dict.fromkeys(("model_type", "hidden_size", "vocab_size")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_that_no_weights_stand_for(name: str, good: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    data = json.loads((folder / "config.json").read_bytes()) | CONFIGS[name]
    (folder / "config.json").write_text(json.dumps(data), encoding="utf-8")
    ran = edgekit("convert", folder, "-p", "fp32", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 5 and ran.err.count("error:") == 1 and "Traceback" not in ran.err, ran.err


INDICES = [
    "[]",
    "{}",
    '{"weight_map": {}}',
    '{"weight_map": [1]}',
    '{"weight_map": {"a": 5}}',
    '{"weight_map": {"a": "x.bin"}}',
    '{"weight_map": {"a": "../x.safetensors"}}',
    "{" * 5000,
    '{"weight_map": null}',
    "\xff",
]


@pytest.mark.parametrize("text", INDICES)
def test_odd_indices(text: str, good: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    (folder / "model.safetensors.index.json").write_text(text, encoding="latin-1")
    ran = edgekit("convert", folder, "-p", "fp32", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 5 and ("index" in ran.err or "outside" in ran.err) and "Traceback" not in ran.err, ran.err


@pytest.mark.parametrize("threads", ["99999999", "0", "-1", "many"])
def test_threads_without_bounds(
    threads: str, edgekit: Edgekit, packages: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_THREADS", threads)
    ran = edgekit("detect", packages["fp32"], next((SHAPES / "eval/images").glob("*.jpg")))
    assert ran.code == 2 and "threads" in ran.err


def test_a_child_that_takes_too_much_is_ended() -> None:
    code = (
        "import itertools, time\nfrom edgekit.system.child import answer\n"
        "def handle(q):\n"
        "    if q == 'loop': time.sleep(60)\n"
        "    if q == 'memory': yield len(bytearray(10**10))\n"
        "    if q == 'die': import os; os.kill(os.getpid(), 11)\n"
        "    yield q\n"
        "answer(handle, 1 << 28)\n"
    )
    module = io.StringIO(code)
    for question, words in (("loop", "seconds"), ("memory", "memory"), ("die", "signal 11")):
        child = _child_of(module.getvalue())
        assert child.ask("hello", 30) == "hello"
        with pytest.raises(ChildError, match=words):
            child.ask(question, 2)
        child.close()


def _child_of(code: str) -> Child:
    class Written(Child):
        def __init__(self) -> None:
            made = subprocess.Popen
            try:
                subprocess.Popen = lambda c, **k: made([c[0], "-c", code], **k)  # type: ignore[assignment, misc]
                super().__init__("nothing")
            finally:
                subprocess.Popen = made  # type: ignore[misc]

    return Written()


def test_a_source_that_kills_its_reader_is_one_error(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.conversion import reading

    monkeypatch.setattr(reading, "_MEMORY", 1 << 20)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    ran = edgekit("convert", SHAPES / "shapes.safetensors", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 5 and "shapes.safetensors" in ran.err and "Traceback" not in ran.err
    assert not list((tmp_path / "cache/steps").iterdir())


def test_an_error_of_any_kind_becomes_the_readers() -> None:
    from edgekit.errors import guard

    class Panic(BaseException):
        """As Rust's libraries raise."""

    for error in (Panic("x"), KeyError("a"), MemoryError(), RecursionError(), UnicodeDecodeError("a", b"", 0, 1, "x")):
        with pytest.raises(SourceError, match=r"m\.json cannot be read"), guard(SourceError, "m.json cannot be read"):
            raise error
    with pytest.raises(KeyboardInterrupt), guard(SourceError, "x"):
        raise KeyboardInterrupt
    with pytest.raises(EdgekitError, match="mine"), guard(SourceError, "x"):
        raise DataError("mine")
