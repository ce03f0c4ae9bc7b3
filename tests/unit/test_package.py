"""Packages: written whole or not at all, every byte covered, the same bytes from the same input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgekit.errors import ConversionError, IntegrityError
from edgekit.package import Package, canonical
from edgekit.package.atomic import new_folder
from edgekit.package.writing import pack, unpack


@pytest.fixture
def copy(packages: dict[str, Path], tmp_path: Path) -> Path:
    shutil.copytree(packages["fp32"], tmp_path / "copy")
    return tmp_path / "copy"


def test_a_package_verifies_and_reads(copy: Path) -> None:
    package = Package(copy)
    assert package.verify() == sum(e.bytes for e in package.manifest.files.values())
    assert package.manifest.model.labels == tuple(package.read("labels.txt").decode().split("\n")[:-1])


@pytest.mark.parametrize("name", ["model.onnx", "labels.txt", "manifest.json", "receipt.json"])
@pytest.mark.parametrize("place", [0, -1, 0.5])
def test_no_byte_can_change_unseen(copy: Path, name: str, place: float) -> None:
    data = bytearray((copy / name).read_bytes())
    data[int(len(data) * place) if place == 0.5 else int(place)] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        Package(copy).verify()


def test_pack_and_unpack_give_the_same_package(copy: Path, tmp_path: Path) -> None:
    file = pack(Package(copy), tmp_path / "p.edgepkg")
    again = pack(Package(copy), tmp_path / "q.edgepkg")
    assert file.read_bytes() == again.read_bytes()
    assert Package(file).verify() == Package(copy).verify()
    folder = unpack(file, tmp_path / "out")
    assert (folder / "manifest.json").read_bytes() == (copy / "manifest.json").read_bytes()


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    out = tmp_path / "package"
    out.mkdir()
    (out / "manifest.json").write_text('{"schema": "edgekit.package/1"}', encoding="utf-8")
    with pytest.raises(StopError), new_folder(out) as folder:
        (folder / "half").write_text("written", encoding="utf-8")
        raise StopError
    assert [p.name for p in tmp_path.rglob("*")] == ["package", "manifest.json"]


def test_only_packages_are_ever_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConversionError, match="not an edgekit package"), new_folder(tmp_path / "thesis"):
        pass
    assert (tmp_path / "thesis" / "chapter.txt").read_text(encoding="utf-8") == "years of work"


def test_a_folder_with_any_other_manifest_is_not_a_package(tmp_path: Path) -> None:
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension" / "manifest.json").write_text('{"manifest_version": 3}', encoding="utf-8")
    with pytest.raises(ConversionError, match="not an edgekit package"), new_folder(tmp_path / "extension"):
        pass


def test_a_damaged_archive_does_not_replace_a_good_package(copy: Path, tmp_path: Path) -> None:
    file = pack(Package(copy), tmp_path / "p.edgepkg")
    good = unpack(file, tmp_path / "out")
    data = bytearray(file.read_bytes())
    place = data.find(Package(copy).read("labels.txt"))
    data[place] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(IntegrityError):
        unpack(file, tmp_path / "out")
    assert Package(good).verify()


def test_receipts_can_grow_but_only_through_edgekit(copy: Path) -> None:
    package = Package(copy)
    receipt = package.receipt()
    receipt["notes"] = [*receipt["notes"], "measured again"]
    package.replace_receipt(receipt)
    assert Package(copy).receipt()["notes"][-1] == "measured again"
    changed = json.loads((copy / "receipt.json").read_text(encoding="utf-8")) | {"verdict": "perfect"}
    (copy / "receipt.json").write_bytes(canonical(changed))
    with pytest.raises(IntegrityError, match="changed after"):
        Package(copy).receipt()


def test_manifests_are_canonical_json(copy: Path) -> None:
    raw = (copy / "manifest.json").read_bytes()
    assert raw == canonical(json.loads(raw))
