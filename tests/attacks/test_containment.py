"""Names and links of a source lead nowhere else, and nothing elsewhere is opened to find out."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from tests import language
from tests.attacks.test_packages_that_act import outside
from tests.cli.commands import Edgekit

_opened: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[0], str):
        _opened.append(arguments[0])


sys.addaudithook(_watch)  # which cannot be taken back: it looks only while a test asks


@pytest.fixture
def opened() -> Iterator[list[str]]:
    global _watching
    _opened.clear()
    _watching = True
    yield _opened
    _watching = False


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return language.folder(tmp_path_factory.mktemp("good") / "model")


@pytest.mark.parametrize("place", ["initializer", "constant", "subgraph"])
def test_external_data_elsewhere_is_not_opened(
    place: str, edgekit: Edgekit, tmp_path: Path, opened: list[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * 16)
    folder = tmp_path / "model"
    folder.mkdir()
    os.symlink(secret, folder / "link.bin")
    for location in (str(secret), "../secret", "a/../../secret", "link.bin"):
        (folder / "m.onnx").write_bytes(outside(location, place))
        opened.clear()
        ran = edgekit("convert", folder / "m.onnx", "-o", tmp_path / "out")
        assert ran.code == 5 and ("outside" in ran.err or "leads out" in ran.err), ran.err
        assert not [p for p in opened if Path(p).resolve() == secret]


def test_many_tensors_in_one_place(edgekit: Edgekit, tmp_path: Path) -> None:
    """A small model and a file of a megabyte, which together would take a terabyte."""
    (tmp_path / "w.bin").write_bytes(bytes(2**20))
    tensors = []
    for i in range(1000):
        tensor = TensorProto(
            name=f"w{i}", data_type=1, dims=[2**18], data_location=TensorProto.EXTERNAL
        )
        for key, value in (("location", "w.bin"), ("length", str(2**20))):
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
    node = helper.make_node("Identity", ["w0"], ["y"])
    graph = helper.make_graph(
        [node], "g", [], [helper.make_tensor_value_info("y", 1, [2**18])], tensors
    )
    (tmp_path / "m.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    ran = edgekit("convert", tmp_path / "m.onnx", "-o", tmp_path / "out")
    assert ran.code == 5 and "unfolds" in ran.err


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "tokenizer.json", "config.json", "model.safetensors", "notes.txt"]
)
def test_a_link_out_of_a_folder_is_not_followed(
    name: str, good: Path, edgekit: Edgekit, tmp_path: Path, opened: list[str]
) -> None:
    folder, secret = tmp_path / "model", tmp_path / "secret"
    shutil.copytree(good, folder)
    if (folder / name).exists():
        shutil.move(folder / name, secret)
    else:
        secret.write_text("x", encoding="utf-8")
    os.symlink(secret, folder / name)
    opened.clear()
    ran = edgekit("convert", folder, "-p", "fp32", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 5 and "leads out" in ran.err and name in ran.err
    assert not [p for p in opened if Path(p).resolve() == secret]


def test_the_links_of_hugging_faces_cache_stay_inside(
    good: Path, edgekit: Edgekit, tmp_path: Path
) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0123", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(sorted(good.iterdir())):
        shutil.copy(file, blobs / f"{i:040x}")
        os.symlink(f"../../blobs/{i:040x}", snapshot / file.name)
    ran = edgekit(
        "convert", snapshot, "-p", "fp32", "--launches", 0, "-o", tmp_path / "out", "--name", "b"
    )
    assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    "name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "C:\\x.jpg", "..\\x.jpg", 5, None]
)
def test_annotations_name_images_inside_their_folder(
    name: Any, edgekit: Edgekit, tmp_path: Path
) -> None:
    from tests.data import SHAPES

    shutil.copytree(SHAPES / "eval", tmp_path / "eval")
    file = next((tmp_path / "eval").glob("*.json"))
    data = json.loads(file.read_bytes())
    data["images"][0]["file_name"] = name
    file.write_text(json.dumps(data), encoding="utf-8")
    ran = edgekit(
        "convert", SHAPES / "shapes.safetensors", "--eval", tmp_path / "eval", "-o", tmp_path / "out"
    )
    assert ran.code == 5 and file.name in ran.err and "Traceback" not in ran.err


def test_a_pipe_in_a_folder_is_no_file(good: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    os.mkfifo(folder / "generation_config.jsonl")
    ran = edgekit("convert", folder, "-p", "fp32", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 5 and "is no file" in ran.err
