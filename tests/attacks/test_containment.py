"""Names and links of a source lead nowhere else, and nothing elsewhere is opened to find out."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from edgekit.errors import EdgekitError, SourceError, UnsafeSourceError, guard
from edgekit.sources.base import SourceOptions
from tests import language
from tests.altered import outside
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
def test_external_data_elsewhere_is_not_opened(place: str, edgekit: Edgekit, tmp_path: Path, opened: list[str]) -> None:
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
        tensor = TensorProto(name=f"w{i}", data_type=1, dims=[2**18], data_location=TensorProto.EXTERNAL)
        for key, value in (("location", "w.bin"), ("length", str(2**20))):
            tensor.external_data.add(key=key, value=value)
        tensors.append(tensor)
    node = helper.make_node("Identity", ["w0"], ["y"])
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", 1, [2**18])], tensors)
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


def test_the_links_of_hugging_faces_cache_stay_inside(good: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--a--b/snapshots/0123", tmp_path / "models--a--b/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for i, file in enumerate(sorted(good.iterdir())):
        shutil.copy(file, blobs / f"{i:040x}")
        os.symlink(f"../../blobs/{i:040x}", snapshot / file.name)
    ran = edgekit(
        "convert", snapshot, "-p", "fp32", "--allow", "misread", "--launches", 0, "-o", tmp_path / "out", "--name", "b"
    )
    assert ran.code == 0, ran.err


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "C:\\x.jpg", "..\\x.jpg", 5, None])
def test_annotations_name_images_inside_their_folder(name: Any, edgekit: Edgekit, tmp_path: Path) -> None:
    from tests.data import SHAPES

    shutil.copytree(SHAPES / "eval", tmp_path / "eval")
    file = next((tmp_path / "eval").glob("*.json"))
    data = json.loads(file.read_bytes())
    data["images"][0]["file_name"] = name
    file.write_text(json.dumps(data), encoding="utf-8")
    ran = edgekit("convert", SHAPES / "shapes.safetensors", "--eval", tmp_path / "eval", "-o", tmp_path / "out")
    assert ran.code == 5 and file.name in ran.err and "Traceback" not in ran.err


def test_a_pipe_in_a_folder_is_no_file(good: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    os.mkfifo(folder / "generation_config.jsonl")
    ran = edgekit("convert", folder, "-p", "fp32", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 5 and "is no file" in ran.err


def elsewhere(folder: Path, secret: Path) -> dict[str, Callable[[], None]]:
    """What makes transformers open other files, most of them by any path."""
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": str(secret)}}

    def of(name: str, **values: Any) -> None:
        file = folder / name
        data = json.loads(file.read_bytes()) if file.exists() else {}
        file.write_text(json.dumps({**data, **values}), encoding="utf-8")

    def own_index(name: str) -> None:
        of("config.json", transformers_weights=name)
        (folder / name).write_text(json.dumps(index), encoding="utf-8")

    def by_files() -> None:
        (folder / "tokenizer.1.0.json").mkdir()
        of("tokenizer_config.json", fast_tokenizer_files=["tokenizer.1.0.json/../../secret"])

    def by_vocabulary(name: str) -> None:
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text("{}", encoding="utf-8")
        of(name, tokenizer_class="GPT2Tokenizer", vocab=str(secret), merges=str(secret))

    return {
        "an index of its own": lambda: own_index("x.safetensors.index.json"),
        "weights of its own": lambda: of("config.json", transformers_weights=str(secret)),
        "configurations by version": lambda: of("config.json", configuration_files=["config.1.0.json/../../secret"]),
        "another name": lambda: of("config.json", _name_or_path=str(secret)),
        "tokenizers by version": by_files,
        "a vocabulary anywhere": lambda: by_vocabulary("tokenizer_config.json"),
        "a vocabulary by special tokens": lambda: by_vocabulary("special_tokens_map.json"),
        "a GGUF file": lambda: of("tokenizer_config.json", gguf_file=str(secret)),
        "code": lambda: of("tokenizer_config.json", auto_map={"AutoTokenizer": [None, "code.T"]}),
    }


@pytest.mark.parametrize("name", elsewhere(Path(), Path()))
def test_a_folders_own_files_send_libraries_nowhere(name: str, good: Path, tmp_path: Path, opened: list[str]) -> None:
    """In this process, where what is opened is seen; a refusal is as good as an answer."""
    from edgekit.sources.huggingface import HuggingFaceSource

    folder, secret = tmp_path / "model", tmp_path / "secret"
    shutil.copytree(good, folder)
    secret.write_text("{}", encoding="utf-8")
    elsewhere(folder, secret)[name]()
    source = HuggingFaceSource()
    opened.clear()
    with contextlib.suppress(EdgekitError), guard(SourceError, "x"):
        model = source.read(str(folder), SourceOptions(), tmp_path / "into")
        source.network(model, "float32")
    assert not [p for p in opened if Path(p).resolve() == secret]


def test_the_weights_that_are_hashed_are_those_that_are_read(good: Path, tmp_path: Path) -> None:
    """With an index and a single file beside it, transformers prefers the other one."""
    from safetensors.torch import load_file, save_file

    from edgekit.sources.huggingface import HuggingFaceSource

    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    tensors = load_file(folder / "model.safetensors")
    shutil.move(folder / "model.safetensors", folder / "a.safetensors")
    save_file({n: t * 0 + 7 for n, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    index = {"weight_map": dict.fromkeys(tensors, "a.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    source = HuggingFaceSource()
    assert folder / "a.safetensors" in source.files(str(folder))
    network = source.network(source.read(str(folder), SourceOptions(), tmp_path / "into"), "float32")
    name, tensor = next((n, t) for n, t in tensors.items() if n in network.state_dict())
    assert (network.state_dict()[name] == tensor).all()


def test_a_config_is_made_of_what_is_known() -> None:
    """Libraries act on what a config says of quantisation, and on what it names."""
    from edgekit.sources.checked_folder import plain_config

    config = {
        "quantization_config": {"quant_method": "gptq", "dynamic": {r"-:.*\.1\..*": {}}},
        "auto_map": {"AutoConfig": "code.C"},
        "model_type": "llama",
        "hidden_size": 8,
        "of_another_family": 2.5,
        "eos_token_id": [1, "/etc/passwd"],
        "hook": "os.system",
        "x": ["/etc/passwd"],
    }
    kept = {"model_type": "llama", "hidden_size": 8, "of_another_family": 2.5, "eos_token_id": [1]}
    assert plain_config(config) == kept


def test_a_link_inside_a_hidden_folder_is_looked_at(good: Path, tmp_path: Path) -> None:
    from edgekit.sources.files import check_folder

    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    os.symlink(tmp_path, folder / ".d")
    with pytest.raises(UnsafeSourceError, match="leads out"):
        check_folder(folder)


def test_a_part_of_a_split_gguf_lies_beside_the_first(tmp_path: Path) -> None:
    from edgekit.sources.gguf_header import parts_of

    folder, secret = tmp_path / "model", tmp_path / "secret"
    folder.mkdir()
    for file in (secret, folder / "m-00001-of-00002.gguf"):
        file.write_bytes(b"GGUF")
    os.symlink(secret, folder / "m-00002-of-00002.gguf")
    with pytest.raises(UnsafeSourceError, match="leads out"):
        parts_of(str(folder / "m-00001-of-00002.gguf"))


def test_several_chat_templates_are_no_hindrance(good: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(good, folder)
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool_use.jinja").write_text("{{ messages }}", encoding="utf-8")
    settings = json.loads((folder / "tokenizer_config.json").read_bytes())
    settings["model_max_length"] = 1000000000000000019884624838656  # as Hugging Face writes "endless"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    ran = edgekit("convert", folder, "-p", "fp32", "--allow", "misread", "--launches", 0, "-o", tmp_path / "out")
    assert ran.code == 0, ran.err
    assert edgekit("verify", *(tmp_path / "out").iterdir()).code == 0
