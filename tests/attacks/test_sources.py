"""Hostile and broken sources: one clear error each, nothing run, nothing left behind."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from tests.conftest import Ran
from tests.data import SHAPES, data

Edgekit = Callable[..., Ran]


def refuse(edgekit: Edgekit, tmp_path: Path, code: int, *arguments: object) -> str:
    """The conversion fails with `code`, says what, why and what next, and leaves no output."""
    ran = edgekit("convert", *arguments, "-o", tmp_path / "out", "--json")
    assert ran.code == code, ran.out + ran.err
    said = ran.json
    assert said["schema"] == "edgekit.error/1"
    assert said["what"]
    assert said["why"] or said["next"]
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    return f"{said['what']} {said['why']} {said['next']}"


@pytest.mark.parametrize("name", ["model.pt", "model.onnx", "model.safetensors", "model.pt2"])
@pytest.mark.parametrize("content", [b"", b"This is a letter, not a model.\n" * 50, bytes(range(256)) * 8])
def test_not_a_model(edgekit: Edgekit, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert name in refuse(edgekit, tmp_path, 5, tmp_path / name)


def test_an_unknown_ending_and_a_missing_file(edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"x")
    assert "does not know" in refuse(edgekit, tmp_path, 2, tmp_path / "model.h5")
    assert "no file" in refuse(edgekit, tmp_path, 2, tmp_path / "absent.onnx")
    (tmp_path / "folder.onnx").mkdir()
    assert "is a folder" in refuse(edgekit, tmp_path, 2, tmp_path / "folder.onnx")


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated_files(edgekit: Edgekit, tmp_path: Path, keep: float) -> None:
    whole = (SHAPES / "shapes.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: int(len(whole) * keep)])
    assert "truncated" in refuse(edgekit, tmp_path, 5, tmp_path / "cut.safetensors")


def small_detector(path: Path) -> None:
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 64])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 64, 64])
    weight = onnx.numpy_helper.from_array(np.zeros((3, 3, 1, 1), np.float32), "w")
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", [image], [out], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.95])
def test_truncated_onnx(edgekit: Edgekit, tmp_path: Path, keep: float) -> None:
    small_detector(tmp_path / "m.onnx")
    whole = (tmp_path / "m.onnx").read_bytes()
    (tmp_path / "m.onnx").write_bytes(whole[: int(len(whole) * keep)])
    refuse(edgekit, tmp_path, 5, tmp_path / "m.onnx")


def test_a_truncated_checkpoint(edgekit: Edgekit, tmp_path: Path) -> None:
    torch.save({"model": {"0.conv.weight": torch.zeros(8, 3, 3, 3)}}, tmp_path / "m.pt")
    whole = (tmp_path / "m.pt").read_bytes()
    (tmp_path / "m.pt").write_bytes(whole[: len(whole) // 2])
    assert "truncated" in refuse(edgekit, tmp_path, 5, tmp_path / "m.pt")


class Runs:
    """Pickles to a call of os.system."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        import os

        return os.system, (self.command,)


def test_a_pickle_that_runs_code(edgekit: Edgekit, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps({"model": Runs(f"touch {tmp_path}/ran")}))
        archive.writestr("m/version", "3\n")
    said = refuse(edgekit, tmp_path, 5, tmp_path / "m.pt")
    assert "asks to run" in said
    assert "system" in said
    assert not (tmp_path / "ran").exists()


def test_an_unsupported_architecture(edgekit: Edgekit, tmp_path: Path) -> None:
    resnet = {f"layer1.0.conv{i}.weight": torch.zeros(8, 8, 3, 3) for i in (1, 2)}
    torch.save(resnet, tmp_path / "resnet.pt")
    said = refuse(edgekit, tmp_path, 5, tmp_path / "resnet.pt")
    assert "cannot build" in said
    assert "ONNX" in said


def test_a_checkpoint_that_lacks_a_tensor(edgekit: Edgekit, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(str(SHAPES / "shapes.safetensors"))
    tensors.pop(next(k for k in tensors if ".4." in k and k.endswith("conv.weight") and "m.0" in k))
    save_file(tensors, str(tmp_path / "m.safetensors"))
    refuse(edgekit, tmp_path, 5, tmp_path / "m.safetensors")


@pytest.mark.parametrize("size", ["100", "0", "640x", "-32", "31x320", "abc"])
def test_wrong_image_sizes(edgekit: Edgekit, tmp_path: Path, size: str) -> None:
    assert "size" in refuse(edgekit, tmp_path, 2, SHAPES / "shapes.safetensors", f"--image-size={size}")


def test_a_network_that_finds_nothing_to_decode(edgekit: Edgekit, tmp_path: Path) -> None:
    small_detector(tmp_path / "m.onnx")
    said = refuse(edgekit, tmp_path, 5, tmp_path / "m.onnx")
    assert "a map of the picture" in said


def test_an_image_model_with_two_inputs(edgekit: Edgekit, tmp_path: Path) -> None:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "g", infos[:2], infos[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "m.onnx"))
    assert "single image input" in refuse(edgekit, tmp_path, 5, tmp_path / "m.onnx")


def test_an_operator_that_does_not_exist(edgekit: Edgekit, tmp_path: Path) -> None:
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 3, 8, 8]) for n in "ab"]
    node = helper.make_node("Teleport", ["a"], ["b"], domain="com.example")
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(tmp_path / "m.onnx"))
    assert "Teleport" in refuse(edgekit, tmp_path, 5, tmp_path / "m.onnx")


def test_external_data_that_points_outside(edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").write_bytes(bytes(36))
    small_detector(tmp_path / "in" / "m.onnx")
    model = onnx.load(str(tmp_path / "in" / "m.onnx"))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    (tmp_path / "in" / "m.onnx").write_bytes(model.SerializeToString())
    refuse(edgekit, tmp_path, 5, tmp_path / "in" / "m.onnx")


def test_a_function_that_fails_or_returns_no_model(edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "def bad():\n    raise RuntimeError('no weights')\ndef none():\n    return 3\n", encoding="utf-8"
    )
    assert "no weights" in refuse(edgekit, tmp_path, 5, f"{tmp_path}/net.py:bad")
    assert "returned int" in refuse(edgekit, tmp_path, 2, f"{tmp_path}/net.py:none")
    assert "net.py" in refuse(edgekit, tmp_path, 2, f"{tmp_path}/net.py:absent")


def test_calibration_folders_that_cannot_be_used(edgekit: Edgekit, tmp_path: Path) -> None:
    model, w8a8 = SHAPES / "shapes.safetensors", ("-p", "w8a8")
    assert "--calibration" in refuse(edgekit, tmp_path, 2, model, *w8a8)
    (tmp_path / "empty").mkdir()
    assert "no images" in refuse(edgekit, tmp_path, 5, model, *w8a8, "--calibration", tmp_path / "empty")
    assert "no folder" in refuse(edgekit, tmp_path, 2, model, *w8a8, "--calibration", tmp_path / "absent")
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "a.jpg").write_bytes(b"not a picture")
    assert "it is no JPEG" in refuse(edgekit, tmp_path, 5, model, *w8a8, "--calibration", tmp_path / "fake")


def test_annotations_that_name_missing_images(edgekit: Edgekit, tmp_path: Path) -> None:
    shutil.copytree(SHAPES / "eval", tmp_path / "eval")
    (tmp_path / "eval" / "images" / "9002-0003.jpg").unlink()
    said = refuse(edgekit, tmp_path, 5, SHAPES / "shapes.safetensors", "--eval", tmp_path / "eval")
    assert "9002-0003.jpg" in said


@pytest.mark.parametrize(
    "text", ["{", '{"images": 3, "annotations": []}', '{"images": [{"id": 1}], "annotations": []}']
)
def test_annotations_that_are_not_coco(edgekit: Edgekit, tmp_path: Path, text: str) -> None:
    shutil.copytree(SHAPES / "eval" / "images", tmp_path / "eval" / "images")
    (tmp_path / "eval" / "instances.json").write_text(text, encoding="utf-8")
    refuse(edgekit, tmp_path, 5, SHAPES / "shapes.safetensors", "--eval", tmp_path / "eval")


def test_images_without_boxes_are_no_evaluation(edgekit: Edgekit, tmp_path: Path) -> None:
    shutil.copytree(SHAPES / "eval" / "images", tmp_path / "eval" / "images")
    assert "no boxes" in refuse(edgekit, tmp_path, 5, SHAPES / "shapes.safetensors", "--eval", tmp_path / "eval")


@pytest.mark.slow
def test_labels_that_do_not_fit(edgekit: Edgekit, tmp_path: Path) -> None:
    model = SHAPES / "shapes.safetensors"
    assert "3 labels" in refuse(edgekit, tmp_path, 2, model, "--labels", "a,b,c")
    assert "no labels file" in refuse(edgekit, tmp_path, 2, model, "--labels", "absent.txt")
    shutil.copytree(SHAPES / "eval", tmp_path / "eval")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"thing {i}" for i in range(8)), encoding="utf-8")
    assert "do not match" in refuse(edgekit, tmp_path, 5, model, "--labels", names, "--eval", tmp_path / "eval")


def test_a_yolov8_checkpoint_is_named_for_what_it_is(edgekit: Edgekit, tmp_path: Path) -> None:
    """Blocks that edgekit has no recipe for are named, so that the user knows what to export."""
    source = data("yolov9t_coco/ultralytics_yolov9t_coco.pt")
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / "v8.pt", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("data.pkl"):
                content = content.replace(b"RepNCSPELAN4\n", b"C2f\n")
            new.writestr(name, content)
    assert "C2f" in refuse(edgekit, tmp_path, 5, tmp_path / "v8.pt")


@pytest.mark.slow
def test_sources_are_never_changed(edgekit: Edgekit, tmp_path: Path) -> None:
    copy = tmp_path / "s" / "shapes.safetensors"
    copy.parent.mkdir()
    shutil.copy(SHAPES / "shapes.safetensors", copy)
    before = (copy.read_bytes(), copy.stat().st_mtime_ns)
    ran = edgekit("convert", copy, "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["packages"][0]["path"]
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == before
    assert [p.name for p in copy.parent.iterdir()] == ["shapes.safetensors"]


@pytest.mark.slow
def test_damaged_weights_are_not_called_good(edgekit: Edgekit, tmp_path: Path) -> None:
    """Comparisons with NaN are false, so a network of NaN once seemed to agree with itself."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(str(SHAPES / "shapes.safetensors"))
    name = next(k for k in tensors if k.endswith("conv.weight"))
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, str(tmp_path / "m.safetensors"))
    assert "not finite" in refuse(edgekit, tmp_path, 5, tmp_path / "m.safetensors")


@pytest.mark.slow
def test_a_reference_that_is_another_model(edgekit: Edgekit, tmp_path: Path) -> None:
    model = SHAPES / "shapes.safetensors"
    other = data("detectors/yolox_nano/yolox_nano.onnx")
    refuse(edgekit, tmp_path, 2, model, "--image-size", "416", "--reference", other)


@pytest.mark.slow
def test_nothing_is_imported_from_the_current_folder(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Someone unpacks a model beside a platform.py and converts it there."""
    (tmp_path / "platform.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("EDGEKIT_TEST_COLD", "1")  # its children import all by themselves
    ran = edgekit("convert", SHAPES / "shapes.safetensors", "-o", tmp_path / "out", "--json")
    assert ran.code == 0
    assert edgekit("profile", ran.json["packages"][0]["path"], "--launches", 2, "--iterations", 2).code == 0
    assert not (tmp_path / "ran").exists()


def test_pictures_never_take_the_place_of_photographs(
    edgekit: Edgekit, tmp_path: Path, packages: dict[str, Path]
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("dog.jpg", "dog.png", "dog-boxes.jpg"):
        shutil.copy(SHAPES / "eval" / "images" / "9002-0003.jpg", folder / name)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    ran = edgekit("detect", packages["fp32"], folder, "--save", folder, "--json")
    assert ran.code == 0
    assert {n: (folder / n).read_bytes() for n in before} == before
    assert len({i["saved"] for i in ran.json["images"]}) == 3
