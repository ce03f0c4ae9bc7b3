"""Manifests and receipts that the first layout of edgekit wrote are read as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekit import registry
from edgekit.package.manifest import parse_manifest
from edgekit.package.receipt import Receipt, check_receipt
from edgekit.spec import from_json, to_json

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
    receipt = from_json(Receipt, {"measurements": [], **data})
    check_receipt(receipt, data["verdict"])
    assert len(receipt.measurements) == len(data["measurements"]) > 3
