"""Detectors of other authors, as files: each is read as what it is, or refused with what was seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from edgekit.errors import SourceError
from edgekit.graph.canonical import canonicalise
from edgekit.model import GraphModel
from edgekit.sources.base import SourceOptions
from edgekit.sources.onnx import OnnxSource
from edgekit.tasks.detection.plausible import check_plausible
from tests.data import ROOT, data
from tests.heads import ultralytics

CASES = ROOT.parent / "shared" / "cases"


def read(path: Any, **said: Any) -> GraphModel:
    options = SourceOptions(**said)
    return canonicalise(OnnxSource().read(str(path), options, Path()), options)


@pytest.mark.parametrize(
    ("file", "decoder"),
    [
        ("yolov8_1class.onnx", "yolov8"),
        ("mmdet_end2end.onnx", "dets-labels"),
        ("rtdetr_two_inputs.onnx", "boxes-scores-labels"),
        ("pose_meta.onnx", "kpt|pose"),
        ("pose_nometa.onnx", "key points"),
        ("obb_meta.onnx", "oriented"),
    ],
)
def test_cases(file: str, decoder: str) -> None:
    if not (CASES / file).exists():
        pytest.skip(f"{file} is not on this machine")
    if file.startswith(("pose", "obb")):
        with pytest.raises(SourceError, match="no detector of boxes"):
            read(CASES / file)
        return
    model = read(CASES / file)
    assert model.spec is not None and model.spec.decoder == decoder
    assert check_plausible(model, None) == ()


@pytest.mark.parametrize(
    ("file", "decoder", "assumed"),
    [
        ("nanodet_m/nanodet_m.onnx", "nanodet-strides", "--color bgr --mean 103.53,"),
        ("picodet_s_320/picodet_s_320.onnx", "picodet", "--mean 123.675,"),
        ("yolox_nano/yolox_nano.onnx", "yolox", "--resize letterbox-topleft"),
        ("fastestdet/FastestDet.onnx", "fastestdet", "--resize stretch"),
        ("ultraface/version-RFB-320.onnx", "ssd", "--std 128"),
    ],
)
def test_real_detectors(file: str, decoder: str, assumed: str) -> None:
    model = read(data(f"detectors/{file}"))
    assert model.spec is not None and model.spec.decoder == decoder
    assert any(assumed in n for n in model.source.notes)
    assert check_plausible(model, None) == ()


@pytest.mark.parametrize(
    "file", ["v5lite-e/v5lite-e.onnx", "yolofastestv2/yolofastestv2.onnx", "blazeface/blazeface.onnx"]
)
def test_real_detectors_that_leave_boxes_undecoded(file: str) -> None:
    with pytest.raises(SourceError, match="undecoded") as caught:
        read(data(f"detectors/{file}"))
    assert "anchors" in caught.value.why


def test_a_decoder_that_the_user_names_is_believed_and_then_tried() -> None:
    model = read(data("detectors/v5lite-e/v5lite-e.onnx"), decoder="yolov5")
    with pytest.raises(SourceError, match="smaller than a pixel"):
        check_plausible(model, None)
    assert check_plausible(read(data("detectors/v5lite-e/v5lite-e.onnx"), decoder="yolov5-raw"), None) == ()


def test_an_onnx_that_is_newer_or_wrong_is_not_called_truncated(tmp_path: Path) -> None:
    model = ultralytics(3, 0)
    model.ir_version = onnx.IR_VERSION + 1
    onnx.save(model, tmp_path / "new.onnx")
    with pytest.raises(SourceError, match="newer ONNX than the one installed"):
        read(tmp_path / "new.onnx")
    wrong = ultralytics(3, 0)
    wrong.graph.node[-1].input[0] = "nowhere"
    onnx.save(wrong, tmp_path / "wrong.onnx")
    with pytest.raises(SourceError, match="breaks a rule of ONNX"):
        read(tmp_path / "wrong.onnx")
