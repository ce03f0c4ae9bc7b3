"""The one loop of conversions, with a backend that compiles nothing and a judge that says what it was told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import edgekit
from edgekit import registry
from edgekit.backends import worker
from edgekit.conversion import compiling
from edgekit.conversion.reading import read_model
from edgekit.errors import UsageError
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Receipt, Trip
from edgekit.package.search import Attempt
from edgekit.sources.base import SourceOptions
from edgekit.tasks.detection.task import DetectionTask
from tests.data import SHAPES
from tests.made_once import sources_read

READING = SourceOptions(image_size=(96, 96))
GOOD = Receipt(())
TARGET = 'about = "nothing"\nbackend = "null"\nprecisions = ["fp32", "w8a8"]\ndevices = ["null:12"]\n'


def far(distance: float) -> Receipt:
    """Of a package that is so far from float."""
    row = Measurement("parity", "detection error", distance, "1", Provenance.MEASURED)
    return Receipt((row,), (Trip(Reason.ACCURACY, f"far: {distance}"),))


class Scripted(DetectionTask):
    """Detection, judged by a list of receipts in turn."""

    receipts: ClassVar[Iterator[Receipt]]
    parents: ClassVar[list[str]]

    def judge(self, *_: Any) -> Any:
        return self

    def check_original(self) -> None:
        pass

    def close(self) -> None:
        pass

    def check(self, *arguments: Any) -> Any:  # of a judge; a task's own is not needed here
        if len(arguments) == 3:
            return None
        staged, _, _, parent = arguments
        self.parents.append(f"{staged.manifest.precision} beside {parent.manifest.precision if parent else 'nothing'}")
        return next(self.receipts)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled meanwhile, by precision and layers left in float."""
    steps: list[str] = []

    def noting(target: Any, precision: Any, options: Any, folder: Path) -> Any:
        steps.append(f"{precision} {options.values.get('float_layers', '')}".strip())
        return worker.compile_in_worker(target, precision, options, folder)

    monkeypatch.setattr(compiling, "compile_in_worker", noting)
    return steps


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`edgekit.convert` of the sample to nothing, judged by the receipts given."""
    find = registry.find

    def scripted(kind: str, name: str) -> Any:
        return Scripted if (kind, name) == ("tasks", "detection") else find(kind, name)

    monkeypatch.setattr(registry, "find", scripted)
    read_model(str(SHAPES / "shapes.safetensors"), READING)
    monkeypatch.setenv("EDGEKIT_CACHE", str(sources_read(tmp_path / "cache")))
    target = tmp_path / "nothing.toml"
    target.write_text(TARGET, encoding="utf-8")

    def run(*receipts: Receipt, **options: Any) -> list[edgekit.conversion.outcome.Outcome]:  # type: ignore[name-defined]
        Scripted.receipts, Scripted.parents = iter(receipts), []
        given = {"out": tmp_path / "dist", "calibration": SHAPES / "calibration", "launches": 0, **options}
        return edgekit.convert(str(SHAPES / "shapes.safetensors"), [str(target)], options=READING, **given)

    return run


def test_a_finished_step_is_not_made_again(convert: Any, compiled: list[str]) -> None:
    (one,) = convert(GOOD, precisions=["w8a8"])
    (again,) = convert(GOOD, precisions=["w8a8"])
    assert compiled == ["w8a8"]
    assert one.path == again.path and one.receipt.verdict == again.receipt.verdict == "good"
    convert(GOOD, precisions=["w8a8"], calibration_images=2, force=True)
    assert compiled == ["w8a8", "w8a8"], "other data makes another artefact"


def test_what_is_too_far_from_float_is_tried_again_with_more_of_it(convert: Any, compiled: list[str]) -> None:
    (outcome,) = convert(far(0.3), far(0.2), GOOD, precisions=["w8a8"])
    assert compiled == ["w8a8", "w8a8 4", "w8a8 8"]
    rows = [r for r in outcome.receipt.search if isinstance(r, Attempt)]
    assert [(r.float_layers, r.result) for r in rows] == [(0, "far: 0.3"), (4, "far: 0.2")]
    assert outcome.path and Package(outcome.path).manifest.toolchain["settings"]["float_layers"] == 8


def test_of_those_that_are_all_too_far_the_nearest_is_taken(convert: Any, compiled: list[str]) -> None:
    (outcome,) = convert(far(0.3), far(0.1), far(0.2), precisions=["w8a8"], allow=["accuracy"])
    assert compiled == ["w8a8", "w8a8 4", "w8a8 8"] and outcome.receipt.verdict == "allowed: accuracy"
    assert outcome.path and Package(outcome.path).manifest.toolchain["settings"]["float_layers"] == 4


def test_what_the_user_decided_is_not_tried_otherwise(convert: Any, compiled: list[str]) -> None:
    (outcome,) = convert(far(0.3), precisions=["w8a8"], float_layers=3)
    assert compiled == ["w8a8 3"] and outcome.refused and not list(Path(outcome.name).glob("*"))


def test_a_tripped_package_is_refused_and_its_siblings_are_written(convert: Any, tmp_path: Path) -> None:
    slow = Receipt((), (Trip(Reason.SLOWER, "slow"),))
    floating, quantised = convert(GOOD, slow, precisions=["fp32", "w8a8"])
    assert floating.path and quantised.refused
    assert [p.name for p in (tmp_path / "dist").iterdir()] == ["shapes-nothing-fp32"]
    (quantised,) = convert(slow, precisions=["w8a8"], allow=["slower"])
    assert quantised.receipt.verdict == "allowed: slower" and quantised.path


def test_a_quantised_package_is_compared_with_a_float_one_where_it_can_be_timed(
    convert: Any, compiled: list[str]
) -> None:
    convert(GOOD, precisions=["w8a8"], launches=2)
    assert compiled == ["fp32", "w8a8"] and Scripted.parents == ["w8a8 beside fp32"]
    convert(GOOD, precisions=["w8a8"], force=True)
    assert Scripted.parents == ["w8a8 beside nothing"]


def test_an_option_without_effect_is_refused_before_anything_is_read(convert: Any, compiled: list[str]) -> None:
    for options, why in (
        ({"precisions": ["fp32"], "float_layers": 2}, "--float-layers is for quantised packages"),
        ({"precisions": ["fp32"], "simulated_images": 2}, "--simulated-images is for packages that run in a simulator"),
        ({"eval_images": 2}, "--eval-images says nothing without --eval"),
        ({"calibration": None, "calibration_images": 2}, "says nothing without --calibration"),
        ({"bits": 5}, "--bits is for language models"),
        ({"text": {"kv_cache": "int8"}}, "--kv-cache is for language models"),
        ({"runtime": "qnn_dlc"}, "--runtime is for Qualcomm AI Hub"),
        ({"float_layer": 2}, "no option float_layer"),
        ({"precisions": ["w8a8"], "float_layers": "many"}, "--float-layers many means nothing"),
        ({"precisions": ["w8a8"], "float_layers": -1}, "--float-layers -1 means nothing"),
        ({"via": "elsewhere"}, "--via elsewhere is not known"),
    ):
        with pytest.raises(UsageError, match=why):
            convert(**options)
    assert not compiled


def test_what_a_target_tolerates_has_a_name(convert: Any, tmp_path: Path) -> None:
    (tmp_path / "nothing.toml").write_text(f"{TARGET}[tolerance]\nmap_drops = 0.1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="tolerates map_drops, which nothing measures"):
        convert()


def test_the_command_in_a_receipt_repeats_what_was_asked(convert: Any) -> None:
    (outcome,) = convert(GOOD, precisions=["w8a8"], name="mine", float_layers=3, calibration_images=2)
    command = outcome.receipt.steps[0]
    assert command.startswith("edgekit convert shapes.safetensors -t nothing.toml -p w8a8 --calibration calibration")
    for words in ("--name mine", "--float-layers 3", "--calibration-images 2", "--image-size 96x96", "--launches 0"):
        assert words in command
