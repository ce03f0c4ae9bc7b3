"""Reports: self-contained, escaped, honest about what is missing."""

from __future__ import annotations

import json
import re
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from edgekit.cli.main import run
from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.null import NullDevice
from edgekit.devices.record import HostNotes, Launch
from edgekit.errors import UsageError
from edgekit.package import EngineRequirement, Manifest, Package, write_package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.package.search import Region, Step
from edgekit.profiling.sampler import profile
from edgekit.report.collect import collect
from edgekit.report.figures import NARROW, WIDE
from edgekit.report.page import build, short_names
from edgekit.report.render import render, write_report
from edgekit.report.scatter import Point, scatter
from edgekit.report.svg import padded, shortened, ticks
from edgekit.report.table import package_columns, rows
from edgekit.spec import DetectionSpec, ImageSpec, Precision, TensorSpec
from edgekit.store.database import Store

HOSTILE = '<script>alert("x")</script>'
SPEC = DetectionSpec(
    TensorSpec("image", "float32", (1, 3, 32, 32), "NCHW"),
    (TensorSpec("boxes", "float32", (1, 9, 4)), TensorSpec("scores", "float32", (1, 1, 9))),
    ImageSpec(32, 32),
    ("a",),
    "test",
)


def measurement(group: str, name: str, value: float, unit: str = "1", **given: object) -> Measurement:
    return Measurement(group, name, value, unit, Provenance.MEASURED, **given)  # type: ignore[arg-type]


def package(
    folder: Path, name: str = "one", accuracy: float | None = 0.4, note: str = "eval", **given: object
) -> Package:
    source = {"name": HOSTILE, "sha256": "0" * 64, "kind": "onnx", "licence": "AGPL (https://example.org/l)"}
    manifest = Manifest(
        name,
        "cpu",
        Precision.W8A8,
        EngineRequirement("null", "*", "model.bin"),
        SPEC,
        source,
        {"versions": {"tool": "1"}},
    )
    found = [measurement("size", "package", 5e6, "bytes"), measurement("parity", "scores SNR", 30.0, "dB")]
    if accuracy is not None:
        found.append(
            measurement("accuracy", "mAP50-95", accuracy, interval=(accuracy - 0.1, accuracy + 0.1), note=note)
        )
    receipt = Receipt(tuple(found), **given)  # type: ignore[arg-type]
    return write_package(folder / name.replace("/", "_"), manifest, {"model.bin": b"model"}, receipt.to_dict())


def measure(store: Path, *packages: Package, milliseconds: str = "10", launches: int = 3) -> None:
    database = Store(store)
    profile(packages, NullDevice(milliseconds), launches=launches, store=database, record=False)
    database.close()


class Tags(HTMLParser):
    """Collects every element with its attributes, and what loads or runs."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attrs}))


def test_self_contained(tmp_path: Path) -> None:
    one = package(tmp_path)
    measure(tmp_path / "s.sqlite", one)
    write_report([one.path], tmp_path / "r.html", tmp_path / "s.sqlite")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    for _, attributes in Tags(text).found:
        for name in ("src", "href", "srcset", "action", "poster", "data", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    style = re.search(r"<style>(.*?)</style>", text, re.S)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert "prefers-color-scheme: dark" in style[1]
    assert "default-src 'none'" in text
    assert list(tmp_path.glob(".r.html*")) == []


def test_hostile_texts_are_escaped(tmp_path: Path) -> None:
    search = (Step(1, 0.1, True), Region(HOSTILE, 1.0, True))
    hostile = package(
        tmp_path,
        "odd & sons",
        note=HOSTILE,
        search=search,
        notes=(HOSTILE,),
        steps=(HOSTILE,),
        trips=(Trip(Reason.ACCURACY, HOSTILE, (HOSTILE,)),),
        not_checked=(HOSTILE,),
    )
    store = Store(tmp_path / "s.sqlite")
    info = DeviceInfo(HOSTILE, HOSTILE, HOSTILE, 1, 0, {HOSTILE: HOSTILE})
    number = store.begin("s", HOSTILE, hostile.manifest_sha256, info, Plan(), HOSTILE)
    samples = {"prepare": [0.0] * 9, "run": [0.01] * 9}
    store.add_launch(number, 0, Launch(samples, 0.1, 0.1, 0.1, 1, 1, HOSTILE, host=HostNotes(warning=HOSTILE)))
    store.close()
    write_report([hostile.path], tmp_path / "r.html", tmp_path / "s.sqlite")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "alert(" in text
    assert [tag for tag, _ in Tags(text).found].count("script") == 1  # the theme button's


def test_missing_numbers_are_said_and_never_zero(tmp_path: Path) -> None:
    one = package(tmp_path, accuracy=None)
    table = rows(collect([one.path]))
    assert {c.text for c in table[0].devices[0].cells} == {""}
    text = render(build(collect([one.path])))
    assert text.count(">not measured<") >= 9
    assert f"edgekit profile {one.path.resolve()} -d local" in text
    assert "<svg" not in text
    assert not re.search(r">0(\.0+)?<", text)


def test_a_device_that_cannot_tell_memory_is_no_zero(tmp_path: Path) -> None:
    one = package(tmp_path)
    measure(tmp_path / "s.sqlite", one)
    cells = rows(collect([one.path], tmp_path / "s.sqlite"))[0].devices[0].cells
    assert cells[0].text == "10.00"
    assert cells[0].tag == "e"  # the null device measures nothing
    assert cells[-1].text == ""  # NullDevice reports 0 bytes


def test_plots_in_two_widths_with_names_for_screen_readers(tmp_path: Path) -> None:
    one, two = package(tmp_path, "one"), package(tmp_path, "two", 0.5)
    measure(tmp_path / "s.sqlite", one, two)
    page = build(collect([one.path, two.path], tmp_path / "s.sqlite"))
    (quality,) = page.quality
    assert [f"0 0 {w}" in svg for w, svg in zip((WIDE, NARROW), quality.svgs)] == [True, True]
    assert len(page.launches) == 2
    for figure in (quality, *page.launches):
        for svg in figure.svgs:
            assert 'role="img" aria-label="' in svg
            assert "<title>" in svg
    assert page.launches[0].svgs[0].count("launch 3") >= 2  # its row and its title


def test_without_accuracy_the_plot_shows_parity(tmp_path: Path) -> None:
    one = package(tmp_path, accuracy=None)
    measure(tmp_path / "s.sqlite", one)
    page = build(collect([one.path], tmp_path / "s.sqlite"))
    assert page.quality[0].title.startswith("Parity")
    assert "SNR, dB" in page.quality[0].svgs[0]


def test_best_is_marked_only_among_what_compares(tmp_path: Path) -> None:
    found = [package(tmp_path, "a", 0.4), package(tmp_path, "b", 0.5), package(tmp_path, "c", 0.9, note="others")]
    measure(tmp_path / "s.sqlite", found[0], milliseconds="10")
    measure(tmp_path / "s.sqlite", found[1], milliseconds="20")
    evidence = collect([p.path for p in found], tmp_path / "s.sqlite")
    table = rows(evidence)
    assert [row.cells[2].best for row in table] == [False, True, False]
    assert [row.devices[0].cells[0].best for row in table] == [True, False, False]
    assert [row.cells[0].best for row in table] == [False, False, False]  # all of one size
    warnings = " ".join(build(evidence).warnings)
    assert "different images" in warnings
    assert "2 sessions" in warnings


def test_newest_profile_of_a_device_counts(tmp_path: Path) -> None:
    one = package(tmp_path)
    measure(tmp_path / "s.sqlite", one, milliseconds="10")
    measure(tmp_path / "s.sqlite", one, milliseconds="30")
    (row,) = rows(collect([one.path, one.path], tmp_path / "s.sqlite"))
    assert [d.cells[0].text for d in row.devices] == ["30.00"]


def test_receipts_speak_when_the_store_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_STORE", str(tmp_path / "none.sqlite"))
    one = package(tmp_path)
    database = Store(tmp_path / "elsewhere.sqlite")
    profile([one], NullDevice("7"), launches=3, store=database)
    database.close()
    page = build(collect([one.path]))
    assert page.rows[0].devices[0].cells[0].text == "7.00"
    assert page.quality[0].svgs
    assert not page.launches[0].svgs
    assert not (tmp_path / "none.sqlite").exists()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = package(tmp_path)
    measure(tmp_path / "s.sqlite", one)
    out = tmp_path / "deep" / "r.html"
    given = ["report", str(one.path), "-o", str(out), "--store", str(tmp_path / "s.sqlite"), "--json"]
    assert run(given) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "edgekit.report/1"
    assert document["packages"][0]["name"] == "one"
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert run(["report", str(one.path), "--store", str(tmp_path / "absent")]) == UsageError.exit_code
    assert run(["report", str(one.path), "-o", str(tmp_path)]) == UsageError.exit_code
    assert run(["report", str(tmp_path / "nothing")]) == UsageError.exit_code


def test_an_altered_package_is_refused(tmp_path: Path) -> None:
    one = package(tmp_path)
    (one.path / "model.bin").write_bytes(b"other")
    assert run(["report", str(one.path), "-o", str(tmp_path / "r.html")]) == 6
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.42, 0.47), (-3, 400), (5, 5.0001)])
def test_ticks_are_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high, 6)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)


def test_scales_survive_equal_values() -> None:
    low, high = padded([3.0, 3.0])
    assert low < 3.0 < high
    point = Point(("name", "cpu"), "name", 0.0, 0.0, 0.0, 0)
    assert "NaN" not in scatter([point, point], "x", "y", "label", WIDE)


def test_names() -> None:
    assert shortened("abc", 100) == "abc"
    assert shortened("abcdefghijklmnop", 60) == "abc…nop"
    assert short_names(["local: a, 1", "local: a, 2", "ssh:pi: b"]) == {
        "local: a, 1": "local (1)",
        "local: a, 2": "local (2)",
        "ssh:pi: b": "ssh:pi",
    }


def test_a_malformed_search_is_an_integrity_error(tmp_path: Path) -> None:
    one = package(tmp_path, search=({"kind": "step", "error": "much"},))
    assert run(["report", str(one.path), "-o", str(tmp_path / "r.html")]) == 6


def test_without_jinja2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert run(["report", str(package(tmp_path).path), "-o", str(tmp_path / "r.html")]) == 3


def test_what_is_best_is_asked_of_one_kind_of_model_at_a_time(
    packages: dict[str, Path], text_packages: dict[str, Path]
) -> None:
    """An image is no token, and a detector's size says nothing of a language model's."""
    found = collect([packages["fp32"], packages["w8a8"], text_packages["fp32"], text_packages["w4"]])
    table = rows(found)
    size = [row.cells[0] for row in table]
    assert [c.best for c in size] == [False, True, False, True]
    titles = [c.title for c in package_columns(found)]
    assert {"mAP50-95", "KL"} <= set(titles) and "KL" not in [c.title for c in package_columns(found[:2])]


def test_language_models_have_a_plot_of_their_own(
    packages: dict[str, Path], text_packages: dict[str, Path], tmp_path: Path
) -> None:
    given = [packages["fp32"], text_packages["fp32"], text_packages["w4"]]
    copies = [Path(shutil.copytree(p, tmp_path / p.name)) for p in given]
    measure(tmp_path / "s.sqlite", *map(Package, copies))
    detectors, texts = build(collect(copies, tmp_path / "s.sqlite")).quality
    assert detectors.title.startswith("Accuracy") and texts.title.startswith("Divergence from float")
    assert "KL, nats a token" in texts.svgs[0] and "writing a token" in texts.svgs[0]
    assert copies[1].name in texts.svgs[0] and copies[0].name not in texts.svgs[0]
