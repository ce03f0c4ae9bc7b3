"""Manifests, receipts and archives of wrong types and sizes: one error each, from every verb."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.package import Package, canonical
from edgekit.package.writing import pack
from tests.altered import seal
from tests.cli.commands import Edgekit


def test_thousands_of_files(detector: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    manifest = json.loads((detector / "manifest.json").read_bytes())
    manifest["files"] |= {f"LICENSES/{i}.txt": {"bytes": 0, "sha256": "0" * 64} for i in range(20_000)}
    (detector / "manifest.json").write_bytes(canonical(manifest))
    assert "20002 files" in edgekit("verify", detector).err
    with zipfile.ZipFile(tmp_path / "many.edgepkg", "w") as archive:
        archive.write(detector / "manifest.json", "manifest.json")
        for i in range(20_000):
            archive.writestr(f"LICENSES/{i}.txt", b"")
    ran = edgekit("unpack", tmp_path / "many.edgepkg", "-o", tmp_path / "out")
    assert ran.code == 6 and "too many" in ran.err and not list((tmp_path / "out").glob("*"))


def test_an_archive_that_holds_a_name_twice(detector: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    file = pack(Package(detector), tmp_path / "p.edgepkg")
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("labels.txt", b"other\n")
    assert edgekit("verify", file).code == 6


ORIGINS: tuple[dict[str, Any], ...] = (
    {"source": {"layout": None}},
    {"source": {"sha256": 5}},
    {"source": {"licence": ["a"]}},
    {"source": {"bytes": "many"}},
    {"toolchain": {"versions": [1]}},
    {"toolchain": {"versions": {"a": None}}},
    {"toolchain": {"settings": 3}},
)


@pytest.mark.parametrize("origin", ORIGINS)
def test_a_manifest_that_tells_its_origin_in_other_types(
    origin: dict[str, Any], detector: Path, edgekit: Edgekit, tmp_path: Path
) -> None:
    seal(detector, {**json.loads((detector / "manifest.json").read_bytes()), **origin})
    for words in (("inspect", detector), ("verify", detector), ("report", detector, "-o", tmp_path / "r.html")):
        ran = edgekit(*words)
        assert ran.code == 6 and "manifest.json" in ran.err and "Traceback" not in ran.err, ran.err


RECEIPTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "measurements that are none": lambda r: r.update(measurements=3),
    "a value that is text": lambda r: r["measurements"][0].update(value="fast"),
    "a device that is a number": lambda r: r["measurements"][0].update(device=5),
    "trips of another kind": lambda r: r.update(trips=[{"reason": "boredom", "message": ""}]),
    "notes that are none": lambda r: r.update(notes=[None]),
    "a verdict alone": lambda r: [r.pop("measurements"), r.update(trips={"a": 1})],
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_a_receipt_of_wrong_types(name: str, detector: Path, edgekit: Edgekit, tmp_path: Path) -> None:
    receipt = json.loads((detector / "receipt.json").read_bytes())
    RECEIPTS[name](receipt)
    (detector / "receipt.json").write_bytes(canonical(receipt))
    seal(detector, json.loads((detector / "manifest.json").read_bytes()))
    for words in (("inspect", detector), ("verify", detector), ("report", detector, "-o", tmp_path / "r.html")):
        ran = edgekit(*words)
        assert ran.code == 6 and "Traceback" not in ran.err, (words, ran.err)


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"schema": "\\ud83d"}', '{"a": ' + "9" * 400 + "}", '{"a": 1e999}', "{}" * 2, '{"a":' * 500]
)
def test_json_that_python_alone_would_take(text: str, detector: Path, edgekit: Edgekit) -> None:
    for name in ("manifest.json", "receipt.json"):
        before = (detector / name).read_bytes()
        (detector / name).write_text(text, encoding="utf-8")
        for verb in ("inspect", "verify"):
            ran = edgekit(verb, detector)
            assert ran.code == 6 and name in ran.err and "Traceback" not in ran.err
        (detector / name).write_bytes(before)
