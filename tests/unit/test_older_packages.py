"""Manifests and receipts that the first layout of edgekit wrote are read as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit import registry
from edgekit.package.manifest import parse_manifest
from edgekit.package.receipt import check_receipt, read_receipt
from edgekit.spec import to_json

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(p.name.removesuffix(".manifest.json") for p in GOLDEN.glob("*.manifest.json"))


def document(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize("name", NAMES)
def test_a_manifest(name: str) -> None:
    raw = (GOLDEN / f"{name}.manifest.json").read_bytes()
    manifest, data = parse_manifest(raw), json.loads(raw)
    assert manifest.name == name
    assert manifest.task in registry.names("runners") and manifest.engine.name in registry.names("engines")
    model = to_json(manifest.model)
    assert {key: model[key] for key in data["model"]} == data["model"], "nothing of it is lost"


@pytest.mark.parametrize("name", NAMES)
def test_a_receipt(name: str) -> None:
    data = document(f"{name}.receipt.json")
    receipt = read_receipt(data)
    check_receipt(receipt, data["verdict"])
    assert len(receipt.measurements) == len(data["measurements"]) > 3


def test_rows_of_a_kind_that_is_not_known_stay_as_they_are() -> None:
    """A newer edgekit, or a backend outside of it, may say how it searched in its own way."""
    rows = [
        {"kind": "step", "float_layers": 2, "error": 0.5, "chosen": True},
        {"kind": "job", "job": "compile", "id": "j1", "url": "", "device": "D", "emulated": False},
        {"kind": "pruning", "share": [0.5, {"of": "heads"}]},
        {"no": "kind"},
    ]
    assert read_receipt({"search": rows}).to_dict()["search"] == rows


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("step", "no object"),
        ({"kind": "step"}, "Step: float_layers is missing"),
        ({"kind": "region", "name": 3, "cost": 1.0, "float": True}, "Region.name: expected str"),
    ],
)
def test_rows_that_lack_what_their_kind_has(row: object, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_receipt({"search": [row]})
