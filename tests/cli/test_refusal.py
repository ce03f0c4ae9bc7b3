"""The tripwires: a package worse than its float original is refused unless --allow names the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import HASTY, SOURCE, Edgekit, receipt


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Targets that nothing can satisfy."""
    folder = tmp_path_factory.mktemp("targets")
    tolerances = {"strict": "map_drop = -1.0", "hurried": "map_drop = 1.0\nslower = 0.0"}
    for name, tolerance in tolerances.items():
        (folder / f"{name}.toml").write_text(
            'about = "nothing is good enough"\nbackend = "onnxruntime"\n'
            f'precisions = ["fp32", "w8a8"]\ndevices = ["local"]\n[tolerance]\n{tolerance}\n',
            encoding="utf-8",
        )
    return {name: folder / f"{name}.toml" for name in tolerances}


def test_less_accurate_is_refused_and_the_costly_layers_named(
    edgekit: Edgekit, targets: dict[str, Path], tmp_path: Path
) -> None:
    command = ["convert", SOURCE, "-t", targets["strict"], *HASTY, "--launches", 0]
    ran = edgekit(*command, "-o", tmp_path / "out")
    assert ran.code == 1
    assert "refused shapes-strict-w8a8: less accurate than float" in ran.out
    assert "layers that cost most" in ran.out
    assert "--allow accuracy" in ran.out
    assert not (tmp_path / "out").exists()

    found = edgekit(*command, "-o", tmp_path / "out", "--json")
    assert found.code == 1
    (package,) = found.json["packages"]
    assert package["path"] is None
    (trip,) = package["receipt"]["trips"]
    assert trip["reason"] == "accuracy"
    regions = [r for r in package["receipt"]["search"] if r["kind"] == "region"]
    dearest = sorted(regions, key=lambda r: -r["cost"])[: len(trip["details"])]
    assert trip["details"] == [f"{r['name']}: {r['cost']:.3g}" for r in dearest]
    assert trip["details"][0] in ran.out


def test_an_allowed_package_is_written_and_says_so(edgekit: Edgekit, targets: dict[str, Path], tmp_path: Path) -> None:
    ran = edgekit(
        "convert", SOURCE, "-t", targets["strict"], *HASTY, "--launches", 0, "--allow", "accuracy", "-o", tmp_path
    )
    assert ran.code == 0, ran.err + ran.out
    package = tmp_path / "shapes-strict-w8a8"
    assert receipt(package)["verdict"] == "allowed: accuracy"
    assert "allowed: accuracy" in ran.out
    shown = edgekit("inspect", package).out
    assert "allowed: accuracy" in shown and "less accurate than float" in shown


def test_allowing_one_reason_does_not_allow_another(edgekit: Edgekit, targets: dict[str, Path], tmp_path: Path) -> None:
    ran = edgekit(
        "convert", SOURCE, "-t", targets["strict"], *HASTY, "--launches", 0, "--allow", "slower", "-o", tmp_path / "out"
    )
    assert ran.code == 1
    assert not (tmp_path / "out").exists()


def test_slower_than_float_is_refused_unless_allowed(
    edgekit: Edgekit, targets: dict[str, Path], tmp_path: Path
) -> None:
    command = ["convert", SOURCE, "-t", targets["hurried"], *HASTY, "--launches", 2]
    ran = edgekit(*command, "-o", tmp_path / "out")
    assert ran.code == 1
    assert "refused shapes-hurried-w8a8: slower than its float parent" in ran.out
    assert "--allow slower" in ran.out
    assert not (tmp_path / "out").exists()
    assert edgekit(*command, "--allow", "slower", "-o", tmp_path / "out").code == 0
    kept = receipt(tmp_path / "out" / "shapes-hurried-w8a8")
    assert kept["verdict"] == "allowed: slower"
    ratio = next(m for m in kept["measurements"] if m["name"] == "ratio to float")
    low, high = ratio["interval"]
    assert 0 < low <= ratio["value"] <= high
    assert ratio["samples"] == 2


def test_a_good_sibling_of_a_refused_package_is_written(
    edgekit: Edgekit, targets: dict[str, Path], tmp_path: Path
) -> None:
    ran = edgekit("convert", SOURCE, "-t", targets["hurried"], "-p", "fp32", *HASTY, "--launches", 2, "-o", tmp_path)
    assert ran.code == 1
    assert [p.name for p in tmp_path.iterdir()] == ["shapes-hurried-fp32"]
