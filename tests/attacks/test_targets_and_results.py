"""Target files, the results database, receipts and logs of libraries that mean harm or are damaged: one clear error each."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgekit.devices.null import NullDevice
from edgekit.package import Package
from edgekit.profiling.sampler import profile
from edgekit.store.database import Store
from tests.attacks.fuzzing import zips
from tests.conftest import Ran

Edgekit = Callable[..., Ran]
TARGETS = {
    "nests deeply": b"a = " + b"[" * 5000 + b"]" * 5000,
    "is not UTF-8": b'about = "\xff"',
    "a number of many digits": b"a = " + b"9" * 5000,
    "is large": b"#" * 2**21,
    "tables that nest": b"[" + b"a." * 5000 + b"a]",
}


def refused(ran: Ran, code: int) -> str:
    assert ran.code == code, ran.err
    assert ran.err.count("error:") == 1 and "Traceback" not in ran.err
    return ran.err


@pytest.mark.parametrize("name", TARGETS)
def test_target_files(name: str, edgekit: Edgekit, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(TARGETS[name])
    said = refused(edgekit("convert", "absent.onnx", "-t", tmp_path / "mine.toml"), 2)
    assert "mine.toml cannot be used" in said


@pytest.fixture(scope="module")
def measured(packages: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "s.sqlite"
    store = Store(path)
    profile([Package(packages["fp32"])], NullDevice("7"), launches=2, store=store, record=False)
    store.close()
    return path


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("profiles", "created", "yesterday"),
        ("profiles", "created", 5),
        ("profiles", "command", b"\xff"),
        ("profiles", "device", "{"),
        ("profiles", "plan", "[5]"),
        ("profiles", "command", "\ud800"),
        ("profiles", "device", r'{"name": "\ud800", "chip": "x", "system": "x", "cores": 1, "memory_bytes": 1}'),
        ("launches", "data", "[" * 100_000),
        ("launches", "data", "9" * 5000),
    ],
)
def test_results_that_are_not_what_was_stored(
    table: str, column: str, value: object, edgekit: Edgekit, packages: dict[str, Path], measured: Path, tmp_path: Path
) -> None:
    store = Path(shutil.copy(measured, tmp_path))
    connection = sqlite3.connect(store)
    stored = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    connection.execute(
        f"UPDATE {table} SET {column} = {'CAST(? AS TEXT)' if isinstance(value, str) else '?'}", (stored,)
    )
    connection.commit()
    connection.close()
    ran = edgekit("report", packages["fp32"], "-o", tmp_path / "r.html", "--store", store)
    assert "results database" in refused(ran, 3)
    assert not (tmp_path / "r.html").exists()


def test_a_damaged_database(edgekit: Edgekit, packages: dict[str, Path], measured: Path, tmp_path: Path) -> None:
    content = bytearray(measured.read_bytes())
    content[4096:] = bytes(len(content) - 4096)
    (tmp_path / "s.sqlite").write_bytes(content)
    ran = edgekit("report", packages["fp32"], "-o", tmp_path / "r.html", "--store", tmp_path / "s.sqlite")
    assert "results database" in refused(ran, 3)


@pytest.mark.parametrize("left_out", ["measurements", "trips", "not_checked", "notes", "verdict"])
def test_a_receipt_that_leaves_out_what_has_a_default(
    left_out: str, edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    package = Package(shutil.copytree(packages["fp32"], tmp_path / "package"))
    receipt = package.receipt()
    receipt.pop(left_out)
    package.replace_receipt(receipt)
    for words in (("inspect",), ("inspect", "--json"), ("report", "-o", tmp_path / "r.html")):
        ran = edgekit(*words, tmp_path / "package")
        assert ran.code == 0, ran.err


def test_what_a_receipt_says_does_not_steer_a_terminal(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path
) -> None:
    package = Package(shutil.copytree(packages["fp32"], tmp_path / "package"))
    red = "\x1b[31mred"
    trips = [{"reason": "accuracy", "message": red, "details": []}]
    package.replace_receipt({**package.receipt(), "notes": [red], "trips": trips, "verdict": "allowed: accuracy"})
    ran = edgekit("inspect", tmp_path / "package")
    assert ran.code == 0 and ran.out.count("[31mred") == 2 and "\x1b[31m" not in ran.out


def test_a_program_that_torch_cannot_load_is_no_page_of_its_log(
    edgekit: Edgekit, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch logs its stack of calls before it raises; whoever converts reads one error."""
    program = torch.export.export(torch.nn.Conv2d(3, 5, 2, 2), (torch.zeros(1, 3, 16, 16),))
    torch.export.save(program, tmp_path / "good.pt2")
    entries = [
        (n, c.replace(b'"as_int": 16', b'"as_int": -1'))
        for n, c in zips.entries_of((tmp_path / "good.pt2").read_bytes())
    ]
    (tmp_path / "bad.pt2").write_bytes(zips.packed(entries))
    ran = edgekit("convert", tmp_path / "bad.pt2", "-o", tmp_path / "out")
    assert "bad.pt2" in refused(ran, 5)
    assert "Traceback" not in "".join(capfd.readouterr())
