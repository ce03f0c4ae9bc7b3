"""One rule: what a command names and is not there is a wrong request (exit code 2). What is there and is no
package, or is damaged, is another matter (6), and the error says what it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cli.commands import IMAGE, Edgekit
from tests.data import SHAPES

MODEL = SHAPES / "shapes.safetensors"
VERBS: list[tuple[str, ...]] = [
    ("inspect",),
    ("verify",),
    ("pack",),
    ("profile",),
    ("report",),
    ("serve",),
    ("generate", "-p", "hi"),
    ("chat",),
    ("compare", "PACKAGE"),
]


@pytest.mark.parametrize("verb", VERBS, ids=lambda v: v[0])
def test_where_a_package_is_wanted(
    verb: tuple[str, ...], edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    command = [str(packages["fp32"]) if w == "PACKAGE" else w for w in verb]
    (tmp_path / "photos").mkdir()
    for code, given, said in (
        (2, tmp_path / "absent", "There is no package"),
        (2, "https://example.org/a.edgepkg", "https://example.org/a.edgepkg is an address"),
        (6, packages["fp32"].parent, f"is a folder of packages\n  why:  it holds {packages['fp32'].name}"),
        (6, tmp_path / "photos", "photos is not a package"),
        (6, MODEL, "shapes.safetensors is a model, not a package"),
    ):
        ran = edgekit(*command, given)
        assert ran.code == code and said in ran.err, ran.err


def test_what_was_a_package(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(packages["fp32"], tmp_path / "package")
    (tmp_path / "package" / "manifest.json").unlink()
    (tmp_path / "a.edgepkg").write_bytes(b"not an archive")
    assert edgekit("inspect", tmp_path / "package").code == 6
    assert edgekit("inspect", tmp_path / "a.edgepkg").code == 6


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("convert", "ABSENT.pt"), "There is no file"),
        (("convert", "ABSENT"), "There is no file or folder"),
        (("convert", "https://example.org/m.onnx"), "is an address, not a file"),
        (("convert", SHAPES), "does not know what shapes is"),
        (("convert", MODEL, "-p", "w8a8", "--calibration", "ABSENT"), "There is no folder"),
        (("convert", MODEL, "--eval", "ABSENT"), "There is no folder"),
        (("convert", MODEL, "--eval", SHAPES / "README.md"), "README.md is a file"),
        (("convert", MODEL, "--labels", "ABSENT"), "There is no labels file"),
        (("convert", MODEL, "--reference", "ABSENT.onnx"), "There is no file"),
        (("detect", "PACKAGE", "ABSENT.jpg"), "There is no image"),
        (("unpack", "ABSENT"), "There is no .edgepkg file"),
        (("unpack", SHAPES), "is a folder"),
        (("report", "PACKAGE", "--store", "ABSENT"), "There is no results database"),
        (("generate", "PACKAGE", "-f", "ABSENT"), "There is no file"),
        (("generate", "PACKAGE", "-f", SHAPES), "is a folder"),
        (("serve", "PACKAGE", "--api-key-file", "ABSENT"), "There is no file"),
    ],
)
def test_where_something_else_is_wanted(
    command: tuple[object, ...], said: str, edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    absent, package = str(tmp_path / "absent"), str(packages["fp32"])
    words = [str(w).replace("ABSENT", absent).replace("PACKAGE", package) for w in command]
    ran = edgekit(*words)
    assert ran.code == 2 and said in ran.err, ran.err


def test_the_runtime_says_the_same(tmp_path: Path) -> None:
    from edgekit.errors import UsageError
    from edgekit.runtime import load
    from edgekit.runtime.image import read_image

    with pytest.raises(UsageError, match="There is no package"):
        load(tmp_path / "absent")
    with pytest.raises(UsageError, match="There is no image"):
        read_image(tmp_path / IMAGE.name)


def test_where_nothing_can_be_written(edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said before minutes of reading and compiling."""
    (tmp_path / "file").touch()
    damaged = tmp_path / "model.onnx"
    damaged.write_bytes(b"no model: it would be refused, were it read first")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "locked" / "below"):
        if "locked" in folder.parts:
            folder.parent.mkdir()  # root may write to any folder, so that the system's answer is made up
            monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path / "locked")
        ran = edgekit("convert", damaged, "-o", folder)
        assert ran.code == 5 and f"{folder} cannot be written" in ran.err and "choose another --out" in ran.err, ran.err
    assert {p.name for p in tmp_path.rglob("*")} == {"file", "locked", "model.onnx"}
