"""What cannot become a package for a Snapdragon: one clear error each, and nothing left behind."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.conftest import Ran
from tests.data import SHAPES
from tests.qnn import detector

Edgekit = Callable[..., Ran]
TARGET = ("-t", "snapdragon-8-elite")


def refused(edgekit: Edgekit, tmp_path: Path, code: int, *arguments: object) -> dict[str, Any]:
    ran = edgekit("convert", *arguments, "-o", tmp_path / "out", "--json")
    assert ran.code == code, ran.out + ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out").exists()
    said: dict[str, Any] = ran.json
    assert said["schema"] == "edgekit.error/1" and said["what"] and said["next"]
    return said


def saved(graph: onnx.ModelProto, tmp_path: Path) -> Path:
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, str(tmp_path / "mine.onnx"))
    return tmp_path / "mine.onnx"


@pytest.fixture
def compiler() -> None:
    pytest.importorskip("onnxruntime_qnn")


@pytest.mark.parametrize("precision", ["fp16", "w8a8"])
def test_an_operator_that_the_npu_lacks_is_named(
    edgekit: Edgekit, tmp_path: Path, compiler: None, precision: str
) -> None:
    path = saved(detector("Relu", "Shrink"), tmp_path)
    said = refused(
        edgekit,
        tmp_path,
        5,
        path,
        *TARGET,
        "-p",
        precision,
        "--decoder",
        "boxes-scores",
        "--calibration",
        SHAPES / "calibration",
        "--calibration-images",
        2,
        "--allow",
        "misread",
    )
    assert "SM8750" in said["what"] and "Shrink" in said["what"]
    assert "net/Shrink (Shrink)" in said["why"]


def test_suppression_in_the_graph_has_no_fixed_size(edgekit: Edgekit, tmp_path: Path, compiler: None) -> None:
    path = saved(detector("Relu", suppress=True), tmp_path)
    said = refused(
        edgekit, tmp_path, 5, path, *TARGET, "-p", "fp16", "--decoder", "boxes-scores-labels", "--labels", "a,b"
    )
    assert "suppresses duplicates" in said["what"]
    assert "NonMaxSuppression" in said["next"]


def test_a_target_without_a_chip(edgekit: Edgekit, tmp_path: Path, compiler: None) -> None:
    target = tmp_path / "chipless.toml"
    target.write_text('about = "no chip"\nbackend = "qnn"\nprecisions = ["fp16"]\n', encoding="utf-8")
    path = saved(detector("Relu"), tmp_path)
    said = refused(edgekit, tmp_path, 2, path, "-t", target, "-p", "fp16", "--decoder", "boxes-scores")
    assert "chipless" in said["what"] and "[chip]" in said["why"]


def test_floating_point_where_the_chip_has_none(edgekit: Edgekit, tmp_path: Path, compiler: None) -> None:
    said = refused(edgekit, tmp_path, 2, saved(detector("Relu"), tmp_path), "-t", "qcs6490", "-p", "fp16")
    assert "qcs6490 has no fp16" in said["what"]
    assert "integers only" in said["why"]
    assert said["next"] == "it takes w8a16, w8a8"


def test_without_the_compiler_the_command_that_installs_it_is_said(
    edgekit: Edgekit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnxruntime_qnn" else real(name, *a)
    )
    said = refused(edgekit, tmp_path, 3, saved(detector("Relu"), tmp_path), *TARGET, "-p", "fp16")
    assert "onnxruntime-qnn" in said["why"]
    assert said["next"] == "pip install 'edgekit-ml[convert,qnn]'"


def test_without_the_compiler_a_package_says_what_opens_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.errors import MissingError
    from edgekit.runtime.engines import qnn

    qnn.provider.cache_clear()
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    with pytest.raises(MissingError, match="onnxruntime-qnn is not installed") as missing:
        qnn.provider()
    assert missing.value.next == "pip install 'edgekit-ml[qnn]'"


def test_a_program_that_uses_the_provider_itself_can_open_packages_too(compiler: None) -> None:
    from edgekit.runtime.engines import qnn

    first = qnn.provider()
    qnn.provider.cache_clear()
    assert qnn.provider().ep_name == first.ep_name
