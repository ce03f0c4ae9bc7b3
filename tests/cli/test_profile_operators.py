"""profile --ops: real packages, what runs where, and that times add up; no time itself is asserted."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgekit.package import Package, canonical
from edgekit.package.atomic import MANIFEST
from tests.cli.commands import SOURCE, Edgekit

QUICK = ("--ops", "--iterations", 5, "--threads", 1)
KEYS = {"name", "kind", "shape", "placed", "partition", "milliseconds", "merged"}

with_litert = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_litert") is None, reason="ai-edge-litert is not installed"
)


@pytest.fixture(scope="session")
def tflite(tmp_path_factory: pytest.TempPathFactory, edgekit: Edgekit) -> Path:
    out = tmp_path_factory.mktemp("tflite")
    ran = edgekit("convert", SOURCE, "-t", "tflite", "-p", "fp32", "--launches", 0, "-o", out, "--json")
    assert ran.code == 0, ran.err + ran.out
    return Path(ran.json["packages"][0]["path"])


def looked_at(edgekit: Edgekit, package: Path, *more: object) -> dict[str, Any]:
    ran = edgekit("profile", package, *QUICK, *more, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["schema"] == "edgekit.operators/1"
    assert ran.json["device"]["name"] == "local"
    (result,) = ran.json["results"]
    found: dict[str, Any] = result
    assert found["package"] == Package(package).manifest.name
    assert found["provenance"] == "measured"
    assert found["threads"] == 1
    return found


def adds_up(result: dict[str, Any]) -> None:
    """Counts, partitions and times are those of the operators listed."""
    operators, sums = result["operators"], result["milliseconds"]
    assert all(o.keys() == KEYS for o in operators)
    assert result["counts"]["total"] == len(operators) > 0
    assert result["counts"]["placed"] == Counter(o["placed"] for o in operators)
    assert sum(p["operators"] for p in result["partitions"]) == len(operators)
    for number, partition in enumerate(result["partitions"]):
        members = [o for o in operators if o["partition"] == number]
        assert {o["placed"] for o in members} == {partition["placed"]}
        assert sum(o["milliseconds"] for o in members) == pytest.approx(partition["milliseconds"])
    assert sum(o["milliseconds"] for o in operators) == pytest.approx(sums["operators"])
    assert all(o["milliseconds"] >= 0 for o in operators)
    # most of a run is in its operators; a busy machine stretches some runs
    assert 0 < sums["operators"] < 1.5 * sums["profiled"]
    assert sums["unattributed"] < sums["profiled"]
    assert sums["run"] > 0


def test_onnxruntime(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    result = looked_at(edgekit, packages["fp32"])
    adds_up(result)
    assert (result["engine"], result["delegate"]) == ("onnxruntime", None)
    assert result["library"].startswith("onnxruntime ")
    assert result["counts"]["placed"].keys() == {"CPUExecutionProvider"}
    assert result["counts"]["delegated"] is None and result["counts"]["left"] is None
    convolutions = [o for o in result["operators"] if o["kind"] == "Conv"]
    assert convolutions and all(len(o["shape"]) == 4 for o in convolutions)
    assert [o for o in result["operators"] if o["milliseconds"]]


@with_litert
def test_litert(edgekit: Edgekit, tflite: Path) -> None:
    from edgekit.tflite.inspection import take_inventory

    result = looked_at(edgekit, tflite)
    adds_up(result)
    assert (result["engine"], result["delegate"], result["note"]) == ("litert", "XNNPACK", "")
    counts, operators = result["counts"], result["operators"]
    package = Package(tflite)
    model = package.read(package.manifest.engine.artifact)
    assert Counter(o["kind"] for o in operators) == take_inventory(model).operators
    assert counts["delegated"] + sum(counts["left"].values()) == counts["total"]
    assert counts["left"] == Counter(o["kind"] for o in operators if o["placed"] == "CPU")
    assert counts["partitions"] == sum(p["placed"] == "XNNPACK" for p in result["partitions"])
    assert len({o["name"] for o in operators}) == len(operators)
    heaviest = max(operators, key=lambda o: o["milliseconds"])
    assert heaviest["kind"] == "CONV_2D" and heaviest["placed"] == "XNNPACK"
    assert not any(o["merged"] and o["milliseconds"] for o in operators)
    # a convolution is never part of something else: were the lists misaligned, some would be
    assert not any(o["merged"] for o in operators if o["kind"] == "CONV_2D")


@with_litert
def test_delegation_says_the_same_without_a_run(edgekit: Edgekit, tflite: Path) -> None:
    from edgekit.runtime.engines.litert_operators import delegation

    package = Package(tflite)
    found = delegation(package.read(package.manifest.engine.artifact))
    assert found is not None
    counts = looked_at(edgekit, tflite)["counts"]
    assert counts == {
        "total": found.total,
        "placed": {"XNNPACK": found.delegated, "CPU": found.total - found.delegated},
        "delegated": found.delegated,
        "partitions": found.partitions,
        "left": found.left,
    }
    assert delegation(b"no model") is None


@with_litert
def test_people_get_tables_that_fit(edgekit: Edgekit, tflite: Path, packages: dict[str, Path]) -> None:
    before = {p: (p / "receipt.json").read_bytes() for p in (tflite, packages["fp32"])}
    ran = edgekit("profile", tflite, packages["fp32"], *QUICK)
    assert ran.code == 0, ran.err
    assert max(map(len, ran.out.splitlines())) <= 80
    text = " ".join(ran.out.split())
    assert re.search(r"\d+ of \d+ operators run in XNNPACK, in \d+ partitions; not delegated: ", text)
    assert re.search(r"(\d+) operators: \1 in CPUExecutionProvider\.", text)
    assert re.search(r"CONV_2D +(\d+) +\1 ", ran.out)
    assert ran.out.count("slowest") == 2 and ran.out.count("Whole run") == 2
    assert "without --ops" in text
    assert {p: (p / "receipt.json").read_bytes() for p in before} == before


@with_litert
def test_a_profiler_that_dies_takes_nothing_along(
    edgekit: Edgekit, tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nif any('litert_events' in a for a in sys.orig_argv): os.kill(os.getpid(), 9)\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = looked_at(edgekit, tflite)
    assert "does not tell the time of each operator" in result["note"]
    assert {o["milliseconds"] for o in result["operators"]} == {None}
    assert result["counts"]["delegated"] > 0
    sums = result["milliseconds"]
    assert sums.pop("run") > 0 and set(sums.values()) == {None}
    ran = edgekit("profile", tflite, *QUICK)
    assert ran.code == 0
    assert "slowest" not in ran.out and "the time of single operators is not known" in ran.out


def test_other_engines_and_devices_are_refused(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    other = Path(shutil.copytree(packages["fp32"], tmp_path / "other"))
    manifest = json.loads((other / MANIFEST).read_text(encoding="utf-8"))
    manifest["engine"]["name"] = "abacus"
    (other / MANIFEST).write_bytes(canonical(manifest))
    from edgekit.errors import UsageError
    from edgekit.runtime.measuring import Effort
    from edgekit.runtime.operators import profile

    with pytest.raises(UsageError, match="single operators in the engine abacus"):
        profile(Package(other), 1, Effort(1, 0, 1))
    assert edgekit("profile", other, "--ops").code == 6  # nor is it as it was packaged
    ran = edgekit("profile", packages["fp32"], "--ops", "-d", "null:12")
    assert ran.code == 2 and "operators on null" in ran.err and "SSH" in ran.err
    assert edgekit("profile", tmp_path / "nowhere", "--ops").code == 2


def test_a_process_that_dies_is_the_device_s_error(
    edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos._exit(9)\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ran = edgekit("profile", packages["fp32"], *QUICK)
    assert ran.code == 4
    assert "exit code 9" in ran.err
    assert f"python -P -m edgekit.runtime.operators {packages['fp32']}" in ran.err


@with_litert
def test_events_find_their_operators() -> None:
    from edgekit.runtime.engines.litert_attribution import Event, align

    def events(*names: str) -> list[Event]:
        return [Event(n, False, i, 2.0**i) for i, n in enumerate(names)]

    fused = events("Convolution (NHWC, QC8) IGEMM", "Invalid Unary Op", "Add (ND)", "Clamp (NC)")
    assert align(["PAD", "CONV_2D", "LOGISTIC", "MUL", "ADD"], fused) == ([None, 1, 2, None, 12], 0)
    dynamic = events("Convert (NC, F32, QDU8)", "Fully Connected (NC, QDU8, F32, QC8W)", "Sigmoid (NC)")
    assert align(["CONV_2D", "LOGISTIC"], dynamic) == ([3, 4], 0)
    unknown = events("Fourier (ND)", "Wavelet (ND)", "Softmax (NC, F32)")
    assert align(["RFFT2D", "SOFTMAX"], unknown) == ([None, 4], 3)
    assert align(["CONV_2D"], []) == ([None], 0)
