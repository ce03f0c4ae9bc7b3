"""Ranges of versions as manifests and requirements write them, held against `packaging`."""

from __future__ import annotations

import pytest

from edgekit.diagnosis import installation
from edgekit.runtime.ranges import within


@pytest.mark.parametrize(
    "allowed", [">=2,<3", ">=1.20,<2", ">=2.7,<2.8", ">=2", "", "!=2.7", "==2.7.0", "<=2.7", ">2.6"]
)
@pytest.mark.parametrize("version", ["1.19.2", "1.20", "2.0.0", "2.7.0", "2.7", "2.8.1", "3.0", "10.0"])
def test_ranges_are_those_of_packaging(version: str, allowed: str) -> None:
    specifiers = pytest.importorskip("packaging.specifiers")
    assert within(version, allowed) == specifiers.SpecifierSet(allowed).contains(version)


def test_ranges_of_another_kind_are_not_guessed() -> None:
    assert within("2.1", "~=2.0") is None and within("2.1", "==2.*") is None
    assert within("3.0rc1", ">=2,<3") is False


def test_a_library_outside_of_its_extras_range_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "requirements", lambda extra: {"numpy": ">=1.26,<3", "onnx": ">=1"})
    have = {"numpy": "1.25.2", "onnx": "1.19"}
    monkeypatch.setattr(installation, "installed", lambda name: have.get(name, ""))
    found = installation.extras()["qnn"]
    assert found.missing == ("numpy >=1.26,<3 (here is 1.25.2)",)
    assert found.install == "pip install -U 'edgekit-ml[qnn]'"
    have["numpy"] = "2.0"
    assert not installation.extras()["qnn"].missing and not installation.extras()["qnn"].install


def test_requirements_split_into_name_and_range() -> None:
    assert installation.split("onnxruntime-qnn>=2.7,<2.8; sys_platform != 'darwin'") == (
        "onnxruntime-qnn",
        ">=2.7,<2.8",
    )
    assert installation.split("edgekit-ml[convert,qnn]") == ("edgekit-ml", "")
    assert set(installation.requirements("qnn")) == {"onnxruntime", "onnxruntime-qnn"}
