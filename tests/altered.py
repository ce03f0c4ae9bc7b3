"""Packages that were changed after they were made, with hashes that fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from edgekit.errors import IntegrityError
from edgekit.package import canonical
from edgekit.runtime import load
from tests.cli.commands import Edgekit

ELF = b"\x7fELF\x02\x01\x01" + bytes(57)


def put(folder: Path, name: str, content: bytes) -> None:
    """A file with its hash in the manifest, and a receipt that fits."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    seal(folder, manifest)


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    (folder / "manifest.json").write_bytes(canonical(manifest))
    body = json.loads((folder / "receipt.json").read_bytes())
    body.pop("digest", None)
    body["manifest_sha256"] = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    body["digest"] = hashlib.sha256(canonical(body)).hexdigest()
    (folder / "receipt.json").write_bytes(canonical(body))


def refused(edgekit: Edgekit, folder: Path, words: str) -> None:
    ran = edgekit("verify", folder)
    assert ran.code == 6 and words in ran.err and "Traceback" not in ran.err, ran.err
    with pytest.raises(IntegrityError):
        load(folder).close()


def outside(location: str, place: str) -> bytes:
    """An ONNX model with a tensor in a file: in an initializer, a constant, or a graph in an attribute."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    nodes, weights = [helper.make_node("Identity", ["w"], ["boxes"])], [tensor]
    if place != "initializer":
        nodes, weights = [helper.make_node("Constant", [], ["w"], value=tensor), *nodes], []
    graph = helper.make_graph(nodes, "g", [], [helper.make_tensor_value_info("boxes", 1, [4])], weights)
    if place == "subgraph":
        condition = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.BOOL, [], [True]))
        chosen = helper.make_node("If", ["c"], ["boxes"], then_branch=graph, else_branch=graph)
        graph = helper.make_graph([condition, chosen], "outer", [], [helper.make_tensor_value_info("boxes", 1, [4])])
    made: bytes = helper.make_model(graph).SerializeToString()
    return made
