"""Who knows another tool, or mistypes, is told what it is called here."""

from __future__ import annotations

import pytest

from tests.cli.commands import SOURCE, Edgekit


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("pi5", "raspberry-pi-5"),
        ("rpi4", "raspberry-pi-4"),
        ("s25", "snapdragon-8-elite"),
        ("sm8750", "snapdragon-8-elite"),
        ("Galaxy S24", "snapdragon-8-gen-3"),
        ("snapdragon8gen3", "snapdragon-8-gen-3"),
        ("android", "android-cpu"),
        ("cpi", "cpu"),
    ],
)
def test_targets(words: str, named: str, edgekit: Edgekit) -> None:
    ran = edgekit("convert", SOURCE, "-t", words)
    assert ran.code == 2 and f"nearest: {named}" in ran.err, ran.err


@pytest.mark.parametrize(
    ("target", "words", "named"),
    [
        ("cpu", "int8", "w8a8"),
        ("tflite", "int8", "w8a8"),
        ("snapdragon-8-elite", "half", "fp16"),
        ("cpu", "float32", "fp32"),
        ("snapdragon-8-elite", "int16", "w8a16"),
        ("cpu", "w8a9", "w8a8"),
    ],
)
def test_precisions(target: str, words: str, named: str, edgekit: Edgekit) -> None:
    ran = edgekit("convert", SOURCE, "-t", target, "-p", words)
    assert ran.code == 2 and f"nearest here is {named}" in ran.err, ran.err


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("convert", SOURCE, "--imgsz", 640), "--image-size"),
        (("convert", SOURCE, "--format", "tflite"), "--target"),
        (("convert", SOURCE, "--int8"), "--precision"),
        (("convert", SOURCE, "--data", "x"), "--calibration or --eval"),
        (("convert", SOURCE, "--outtype", "q8_0"), "--precision"),
        (("convert", SOURCE, "--ctx-size", 64), "--context"),
        (("detect", "x", "y", "--conf", 0.3), "--score"),
        (("generate", "x", "--n-predict", 3), "--max-tokens"),
        (("convert", SOURCE, "--calibrations", "x"), "--calibration"),
    ],
)
def test_options(command: tuple[object, ...], named: str, edgekit: Edgekit) -> None:
    ran = edgekit(*command)
    assert ran.code == 2 and "Did you mean" in ran.err and named in ran.err, ran.err


@pytest.mark.parametrize(
    ("verb", "named"),
    [("conver", "convert"), ("export", "convert"), ("bench", "profile"), ("Predict", "detect"), ("zz", "")],
)
def test_verbs(verb: str, named: str, edgekit: Edgekit) -> None:
    ran = edgekit(verb, "x")
    assert ran.code == 2 and f"There is no verb {verb!r}." in ran.err, ran.err
    assert (f"Did you mean {named}?" in ran.err) == bool(named)
