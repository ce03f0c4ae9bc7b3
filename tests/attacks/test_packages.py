"""Packages that lie: refused before an engine sees a byte, with exit code 6."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.errors import IntegrityError
from edgekit.package import Package, canonical
from edgekit.package.writing import pack
from edgekit.runtime import load
from tests.altered import seal
from tests.conftest import Ran

Edgekit = Callable[..., Ran]


@pytest.fixture
def copy(packages: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(packages["fp32"], tmp_path / "copy")
    return tmp_path / "copy"


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    (folder / "manifest.json").write_bytes(canonical(manifest))


def refused(edgekit: Edgekit, folder: Path) -> str:
    """`verify`, `detect` and `load` all refuse; returns what `verify` says."""
    with pytest.raises(IntegrityError):
        load(folder)
    assert edgekit("detect", folder, "any.jpg").code == 6
    ran = edgekit("verify", folder)
    assert ran.code == 6
    assert "Traceback" not in ran.err
    return ran.err


def test_a_changed_byte(edgekit: Edgekit, copy: Path) -> None:
    data = bytearray((copy / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.onnx").write_bytes(bytes(data))
    assert "model.onnx" in refused(edgekit, copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "C:\\x", "a\\..\\b", ".", "", "a//b", "./a"])
def test_paths_that_leave_the_package(edgekit: Edgekit, copy: Path, name: str) -> None:
    edit(copy, lambda m: m["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}))
    assert "stay inside" in refused(edgekit, copy)


def test_a_newer_schema(edgekit: Edgekit, copy: Path) -> None:
    edit(copy, lambda m: m.update(schema="edgekit.package/2"))
    said = refused(edgekit, copy)
    assert "version 2" in said
    assert "pip install -U" in said


@pytest.mark.parametrize("schema", ["", "other/1", 7, None])
def test_a_manifest_of_something_else(edgekit: Edgekit, copy: Path, schema: object) -> None:
    edit(copy, lambda m: m.update(schema=schema))
    refused(edgekit, copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("engine"),
        lambda m: m.update(files=[]),
        lambda m: m.update(model=3),
        lambda m: m["engine"].update(artifact="absent.onnx"),
        lambda m: m["model"]["image"].update(resize="sideways"),
        lambda m: m["files"]["model.onnx"].update(bytes="many"),
        lambda m: m.update(precision="w0a0"),
    ],
)
def test_malformed_manifests(edgekit: Edgekit, copy: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    edit(copy, change)
    refused(edgekit, copy)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100000, "\udcff"])
def test_a_manifest_that_is_not_json(edgekit: Edgekit, copy: Path, text: str) -> None:
    (copy / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    refused(edgekit, copy)


def test_a_link_in_place_of_a_file(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    shutil.move(copy / "model.onnx", tmp_path / "elsewhere.onnx")
    os.symlink(tmp_path / "elsewhere.onnx", copy / "model.onnx")
    assert "link" in refused(edgekit, copy)


def test_a_file_that_is_not_listed(edgekit: Edgekit, copy: Path) -> None:
    (copy / "payload.so").write_bytes(b"\x7fELF")
    ran = edgekit("verify", copy)
    assert ran.code == 6
    assert "payload.so" in ran.err


def test_a_file_that_is_missing(edgekit: Edgekit, copy: Path) -> None:
    (copy / "labels.txt").unlink()
    assert "labels.txt is missing" in refused(edgekit, copy)


def test_a_receipt_of_another_package(edgekit: Edgekit, copy: Path, packages: dict[str, Path]) -> None:
    shutil.copy(packages["w8a8"] / "receipt.json", copy / "receipt.json")
    ran = edgekit("verify", copy)
    assert ran.code == 6
    assert "two packages" in ran.err


def test_a_model_that_matches_its_hash_but_is_none(edgekit: Edgekit, copy: Path) -> None:
    import hashlib

    (copy / "model.onnx").write_bytes(b"not a model")
    entry = {"sha256": hashlib.sha256(b"not a model").hexdigest(), "bytes": 11}
    edit(copy, lambda m: m["files"].update({"model.onnx": entry}))
    seal(copy, json.loads((copy / "manifest.json").read_bytes()))
    with pytest.raises(IntegrityError, match="cannot open"):
        load(copy)


def test_no_package_at_all(edgekit: Edgekit, tmp_path: Path) -> None:
    assert edgekit("inspect", tmp_path / "absent").code == 2
    assert edgekit("inspect", tmp_path).code == 6


def packed(copy: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """The package as an .edgepkg whose entries were tampered with."""
    with zipfile.ZipFile(pack(Package(copy), tmp_path / "good.edgepkg")) as archive:
        entries = {n: archive.read(n) for n in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(tmp_path / "bad.edgepkg", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return tmp_path / "bad.edgepkg"


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update({"../../evil": b"x"}),
        lambda e: e.update({"extra": b"x"}),
        lambda e: e.pop("model.onnx"),
        lambda e: e.update({"model.onnx": bytes(2**28)}),  # a zip bomb: 256 MB of nothing
        lambda e: e.pop("manifest.json"),
        lambda e: e.update({"receipt.json": b"{}"}),
    ],
)
def test_archives_that_lie(
    edgekit: Edgekit, copy: Path, tmp_path: Path, change: Callable[[dict[str, bytes]], Any]
) -> None:
    file = packed(copy, tmp_path, change)
    before = set(tmp_path.rglob("*"))
    ran = edgekit("unpack", file, "-o", tmp_path / "out")
    assert ran.code == 6, ran.err
    left = set(tmp_path.rglob("*")) - before - {tmp_path / "out"}
    assert not left or all(p.is_relative_to(tmp_path / "out") for p in left)
    assert edgekit("verify", file).code == 6


@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_archives(edgekit: Edgekit, copy: Path, tmp_path: Path, keep: float) -> None:
    file = pack(Package(copy), tmp_path / "p.edgepkg")
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    assert edgekit("inspect", file).code == 6
