"""Packages for Snapdragons, compiled by Qualcomm's compiler and run in its simulator."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import pytest

from edgekit.conversion.reading import read_model
from edgekit.errors import DeviceError
from edgekit.package import Package
from edgekit.qnn.prepare import prepare
from edgekit.runtime import load
from edgekit.sources.base import SourceOptions
from edgekit.spec import Precision
from tests.cli.commands import IMAGE, SOURCE, Edgekit, manifest, measured, receipt
from tests.data import SHAPES, data

pytest.importorskip("onnxruntime_qnn")

# Smaller than the sample was trained for: it takes seconds, and who finds what is not the question.
SMALL = (
    "convert",
    SOURCE,
    "--image-size",
    96,
    "--calibration",
    SHAPES / "calibration",
    "--calibration-images",
    2,
    "--simulated-images",
    2,
)


@pytest.fixture(scope="module")
def made(edgekit: Edgekit, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two chips and two precisions from one command, by what names a package after its model."""
    out = tmp_path_factory.mktemp("out")
    ran = edgekit(
        *SMALL,
        "-t",
        "snapdragon-8-gen-3",
        "-t",
        "snapdragon-8-elite",
        "-p",
        "fp16",
        "-p",
        "w8a16",
        "--allow",
        "accuracy",
        "--eval",
        SHAPES / "eval",
        "-o",
        out,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    found: dict[str, Any] = {
        p["name"].removeprefix("shapes-snapdragon-8-"): Path(p["path"]) for p in ran.json["packages"]
    }
    assert set(found) == {"gen-3-fp16", "gen-3-w8a16", "elite-fp16", "elite-w8a16"}
    return {**found, "seconds": [p["seconds"] for p in ran.json["packages"]]}


def test_each_is_for_its_own_chip(made: dict[str, Any]) -> None:
    engine = manifest(made["elite-fp16"])["engine"]
    assert engine["name"] == "qnn" and engine["artifact"] == "model-SM8750.onnx"
    assert engine["chips"] == {"SM8750": "model-SM8750.onnx", "SM8750P": "model-SM8750.onnx"}
    assert "SM8650" in manifest(made["gen-3-fp16"])["engine"]["chips"]
    assert Package(made["elite-fp16"]).read("model-SM8750.onnx") != Package(made["gen-3-fp16"]).read(
        "model-SM8650.onnx"
    )


def test_chips_share_what_was_quantised(made: dict[str, Any]) -> None:
    one, other = (manifest(made[n])["toolchain"]["settings"] for n in ("elite-w8a16", "gen-3-w8a16"))
    assert {**one, "chips": ["SM8650"]} == other
    assert len(made["seconds"]) == 4 and min(made["seconds"]) > 0


def test_the_gates_are_named_in_their_order(made: dict[str, Any]) -> None:
    names = [m["name"] for m in receipt(made["elite-w8a16"])["measurements"] if m["group"] == "gate"]
    gates = [n.split(":")[0] for n in names]
    assert list(dict.fromkeys(gates)) == ["float graph on the CPU", "QDQ on the CPU", "compiled", "images run there"]
    (ran,) = [m for m in receipt(made["elite-w8a16"])["measurements"] if m["name"] == "images run there"]
    assert ran["value"] == 2 and ran["provenance"] == "simulated" and "HTP simulator" in ran["device"]


def test_what_was_simulated_says_so_and_is_no_latency(made: dict[str, Any]) -> None:
    for name in ("elite-fp16", "elite-w8a16", "gen-3-w8a16"):
        found = receipt(made[name])
        rows = measured(found, "accuracy")
        assert rows["mAP50-95"]["provenance"] == "simulated"
        assert rows["float mAP50-95"]["provenance"] == "measured"
        assert any(n.startswith("speed") for n in found["not_checked"])
        assert all(m["provenance"] == "published" for m in found["measurements"] if m["group"] == "latency")
    assert measured(receipt(made["elite-fp16"]), "parity")["scores SNR"]["value"] > 20


def test_integers_go_in_and_out(made: dict[str, Any]) -> None:
    model = manifest(made["elite-w8a16"])["model"]
    assert model["input"]["dtype"] == "uint16" and model["input"]["layout"] == "NHWC"
    assert {o["name"]: o["dtype"] for o in model["outputs"]} == {"boxes": "uint16", "scores": "uint16"}
    assert manifest(made["elite-fp16"])["model"]["input"]["dtype"] == "float32"


def test_what_others_measured_is_a_warning_and_a_row(made: dict[str, Any]) -> None:
    """The sample has YOLOv9's pooling."""
    found = receipt(made["elite-w8a16"])
    assert any("slower than float" in n and "unproven" in n and "fp16" in n for n in found["notes"])
    (row,) = [m for m in found["measurements"] if m["provenance"] == "published"]
    assert row["value"] > 30 and "qai-hub-models" in row["note"]
    assert not [m for m in receipt(made["elite-fp16"])["measurements"] if m["provenance"] == "published"]


def test_a_report_warns_and_says_where_to_measure(made: dict[str, Any], edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("report", made["elite-w8a16"], made["elite-fp16"], "-o", tmp_path / "report.html")
    assert ran.code == 0, ran.err
    page = html.unescape((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "published: 35 times as slow as float on Samsung Galaxy S25 (Family)" in page
    assert f"profile {made['elite-fp16']} -d 'aihub:Samsung Galaxy S25'" in page
    assert "-d local" not in page


def test_pooling_is_replaced_as_well_where_somebody_else_quantises() -> None:
    """Else what receipts say of it would not be so."""
    model = read_model(str(SOURCE), SourceOptions(image_size=(96, 96)))
    given = (None, None, (), lambda *_: None)
    for precision, elsewhere, pools in ((Precision.W8A8, True, False), (Precision.FP16, False, True)):
        ready = prepare(model, precision, *given, elsewhere=elsewhere)
        kinds = {n.op_type for n in ready.graph.graph.node}
        assert ("AveragePool" in kinds) is pools and "QuantizeLinear" not in kinds
        assert [g.name.split(":")[0] for g in ready.gates] == ["float graph on the CPU"] * 2


def test_it_runs_in_the_simulator_when_asked_and_nowhere_else_here(made: dict[str, Any], edgekit: Edgekit) -> None:
    ran = edgekit("detect", made["elite-w8a16"], IMAGE, "-d", "sim:htp", "--json")
    assert ran.code == 0, ran.err
    with load(made["elite-w8a16"], simulate=True) as detector:
        detector(str(IMAGE))
        assert detector.outputs["scores"].shape == (1, 8, 189)
    with pytest.raises(DeviceError, match="runs on the NPU of SM8750"):
        load(made["elite-w8a16"])
    assert edgekit("detect", made["elite-w8a16"], IMAGE).code == 4
    refused = edgekit("profile", made["elite-w8a16"], "-d", "sim:htp")
    assert refused.code == 2 and "A simulator's time says nothing about a phone" in refused.err


def test_one_package_for_several_chips(edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit(
        *SMALL,
        "-t",
        "snapdragon-8-gen-3",
        "-t",
        "snapdragon-8-elite",
        "--merge",
        "-p",
        "fp16",
        "-o",
        tmp_path,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    (one,) = ran.json["packages"]
    assert set(manifest(Path(one["path"]))["engine"]["chips"].values()) == {"model-SM8650.onnx", "model-SM8750.onnx"}
    where = {m["device"] for m in receipt(Path(one["path"]))["measurements"] if m["provenance"] == "simulated"}
    assert {w.split(":")[1].split()[-1] for w in where} == {"SM8650", "SM8750"}
    assert edgekit("convert", SOURCE, "-t", "cpu", "-t", "tflite", "--merge", "-o", tmp_path).code == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "w8a16", "w8a8"])
def test_a_real_detector_stays_close_to_float(edgekit: Edgekit, tmp_path: Path, precision: str) -> None:
    """FastestDet on photographs; what is refused fails the test."""
    ran = edgekit(
        "convert",
        data("detectors/fastestdet/FastestDet.onnx"),
        "--labels",
        "coco",
        "-t",
        "snapdragon-x-elite",
        "-p",
        precision,
        "--calibration",
        data("images/coco32_train2017"),
        "--calibration-images",
        8,
        "--simulated-images",
        4,
        "-o",
        tmp_path,
        "--json",
    )
    assert ran.code == 0, ran.err + ran.out
    (made,) = ran.json["packages"]
    rows = measured(made["receipt"], "parity") | measured(made["receipt"], "accuracy")
    assert rows["scores SNR"]["value"] > {"fp16": 25, "w8a16": 18, "w8a8": 15}[precision]
