"""An option without effect is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekit import convert
from edgekit.errors import UsageError
from edgekit.spec import TextSpec
from tests.cli.commands import IMAGE, Edgekit
from tests.data import SHAPES


def test_nothing_to_simulate(edgekit: Edgekit, packages: dict[str, Path]) -> None:
    ran = edgekit("detect", packages["fp32"], IMAGE, "-d", "sim:htp")
    assert ran.code == 2 and "not for a Snapdragon" in ran.err


def test_a_report_is_html(edgekit: Edgekit, packages: dict[str, Path], tmp_path: Path) -> None:
    ran = edgekit("report", packages["fp32"], "-o", tmp_path / "x.pdf")
    assert ran.code == 2 and "HTML" in ran.err and not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", ["null:12", "local"])
def test_two_kinds_of_models_are_not_compared(
    device: str, edgekit: Edgekit, packages: dict[str, Path], text_packages: dict[str, Path]
) -> None:
    ran = edgekit("compare", packages["fp32"], text_packages["fp32"], "-d", device)
    assert ran.code == 2 and "not compared" in ran.err


def test_greedy_is_greedy(text_packages: dict[str, Path]) -> None:
    """Whatever the authors of the model recommend besides."""
    from dataclasses import replace

    from edgekit.package import Package
    from edgekit.runtime.text.generation import parse_request as request
    from edgekit.spec import Sampling

    spec = replace(
        Package(text_packages["fp32"]).manifest.model_as(TextSpec), sampling=Sampling(0.7, repetition_penalty=1.3)
    )
    assert request(spec, {}).penalises
    assert not request(spec, {"temperature": 0}).penalises
    assert request(spec, {"temperature": 0, "repetition_penalty": 1.1}).penalises
    assert request(spec, {"temperature": 0.5}).sampling.repetition_penalty == 1.3


@pytest.mark.parametrize(
    "options",
    [
        ("--context", 64),
        ("--eval-windows", 3),
        ("--float-layers", 3),
        ("--simulated-images", 4),
        ("--eval-images", 4),
        ("--calibration-images", 4),
        ("--merge",),
        ("--link",),
        ("--bits", 4),
        ("--download",),
    ],
)
def test_a_detector_is_not_asked_in_vain(options: tuple[object, ...], edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", SHAPES / "shapes.safetensors", "-o", tmp_path, *options)
    assert ran.code == 2 and str(options[0]) in ran.err, ran.err


@pytest.mark.parametrize(
    "options",
    [
        ("--labels", "a,b"),
        ("--image-size", 64),
        ("--float-layers", 2),
        ("--calibration-images", 4),
        ("--reference", "x.onnx"),
        ("--simulated-images", 4),
        ("--eval-windows", 4),
    ],
)
def test_a_language_model_is_not_asked_in_vain(options: tuple[object, ...], edgekit: Edgekit, tmp_path: Path) -> None:
    ran = edgekit("convert", SHAPES.parent / "relief" / "model", "-o", tmp_path, *options)
    assert ran.code == 2, ran.err


@pytest.mark.parametrize(
    "options", [("--images", SHAPES), ("--image-count", 3), ("--ops", "--no-record"), ("--ops", "--launches", 9)]
)
def test_nothing_is_profiled_in_vain(options: tuple[object, ...], edgekit: Edgekit, packages: dict[str, Path]) -> None:
    assert edgekit("profile", packages["fp32"], "-d", "null:12", *options).code == 2


@pytest.mark.parametrize("option", [{"image_size": 320}, {"labels": "coco"}])
def test_python_is_told_where_options_of_reading_belong(option: dict[str, Any], tmp_path: Path) -> None:
    """They are a detector's own: that the source is a detector was no reason to refuse them."""
    with pytest.raises(UsageError, match="says how the source is read") as refused:
        convert(SHAPES / "shapes.safetensors", out=tmp_path, **option)
    assert "options=SourceOptions" in refused.value.next
