"""inspect, verify, pack, unpack and report."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import IMAGE, Edgekit, manifest, receipt


@pytest.fixture
def copy(packages: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(packages["fp32"], tmp_path / "copy"))


def test_inspect_shows_what_a_package_is(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("inspect", packages["w8a8"])
    assert ran.code == 0
    held = manifest(packages["w8a8"])
    for shown in (
        "shapes-cpu-w8a8",
        "verdict",
        "onnxruntime >=1.20,<2",
        "320x320",
        "warm disc",
        "mAP50-95 drop",
        "measured",
        "Apache-2.0",
        held["source"]["sha256"][:16],
        "note: speed against the float parent",
    ):
        assert shown in ran.out


def test_inspect_json_holds_manifest_and_receipt(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    found = edgekit("inspect", packages["w8a8"], "--json").json
    assert found["manifest"] == manifest(packages["w8a8"])
    assert found["receipt"] == receipt(packages["w8a8"])
    assert found["manifest_sha256"] == found["receipt"]["manifest_sha256"]


def test_verify_says_ok_of_each_package(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("verify", *packages.values())
    assert ran.code == 0
    assert [line.split()[:2] for line in ran.out.splitlines()] == [["ok", str(p)] for p in packages.values()]
    found = edgekit("verify", packages["fp32"], "--json").json["packages"]
    assert [p["files"] for p in found] == [4]


def test_verify_names_the_file_that_differs(edgekit: Edgekit, copy: Path) -> None:
    with (copy / "labels.txt").open("a", encoding="utf-8") as file:
        file.write("ghost\n")
    ran = edgekit("verify", copy)
    assert ran.code == 6
    assert "labels.txt" in ran.err
    assert edgekit("verify", copy, "--json").json["error"] == "IntegrityError"


def test_verify_checks_those_after_a_bad_one_too(
    edgekit: Edgekit, packages: dict[str, Path], copy: Path, tmp_path: Path
) -> None:
    (copy / "labels.txt").write_text("ghost\n", encoding="utf-8")
    everything = (packages["fp32"], copy, tmp_path / "nowhere", packages["w8a8"])
    ran = edgekit("verify", *everything)
    assert ran.code == 6
    assert [line.split()[:2] for line in ran.out.splitlines()] == [
        [word, str(p)] for word, p in zip(("ok", "bad", "bad", "ok"), everything)
    ]
    assert "labels.txt" in ran.out
    assert "2 of 4" in ran.err
    as_json = edgekit("verify", *everything, "--json")
    assert as_json.code == 6
    rows = as_json.json["packages"]
    assert [r["ok"] for r in rows] == [True, False, False, True]
    assert [r["error"]["error"] for r in rows if not r["ok"]] == ["IntegrityError", "UsageError"]


def test_pack_and_unpack_give_the_same_package(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    ran = edgekit("pack", copy)
    packed = tmp_path / "shapes-cpu-fp32.edgepkg"
    assert ran.code == 0
    assert str(packed) in ran.out
    first = packed.read_bytes()
    assert edgekit("pack", copy, "--json").json["bytes"] == len(first)
    assert packed.read_bytes() == first
    ran = edgekit("unpack", packed, "-o", tmp_path / "again")
    assert ran.code == 0
    assert ran.out.strip() == str(tmp_path / "again" / "shapes-cpu-fp32")
    for path in copy.iterdir():
        assert (Path(ran.out.strip()) / path.name).read_bytes() == path.read_bytes()


def test_verbs_take_a_packed_package(edgekit: Edgekit, copy: Path, tmp_path: Path) -> None:
    packed = tmp_path / "one.edgepkg"
    assert edgekit("pack", copy, "-o", packed).code == 0
    before = packed.read_bytes()
    for line in (
        ("inspect", packed),
        ("verify", packed),
        ("detect", packed, IMAGE),
        ("profile", packed, "-d", "null:12"),
        ("compare", packed, copy, "-d", "null:12"),
        ("report", packed, "-o", tmp_path / "report.html"),
    ):
        ran = edgekit(*line)
        assert ran.code == 0, ran.err
    assert packed.read_bytes() == before


def test_report_is_one_file_that_names_every_package(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    ran = edgekit("report", *packages.values(), "-o", tmp_path / "report.html")
    assert ran.code == 0
    assert ran.out.strip() == str(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "shapes-cpu-fp32" in page and "shapes-cpu-w8a8" in page
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    found = edgekit("report", *packages.values(), "-o", tmp_path / "report.html", "--json").json
    assert {p["name"] for p in found["packages"]} == {"shapes-cpu-fp32", "shapes-cpu-w8a8"}
