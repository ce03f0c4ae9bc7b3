"""Artefacts are in the oldest form that their features need."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.graph.oldest_form import oldest_ir, write_oldest
from tests.cli.commands import manifest


def model(opset: int, kind: int = TensorProto.FLOAT, ir: int = 14) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", kind, [2])
    other = helper.make_tensor_value_info("y", kind, [2])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [other])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


@pytest.mark.parametrize(
    ("opset", "kind", "expected"),
    [
        (17, TensorProto.FLOAT, 8),
        (19, TensorProto.FLOAT, 9),
        (21, TensorProto.FLOAT, 10),
        (17, TensorProto.INT4, 10),
        (17, TensorProto.FLOAT8E4M3FN, 9),
        (23, TensorProto.FLOAT, 11),
    ],
)
def test_the_version_follows_from_operators_and_types(opset: int, kind: int, expected: int) -> None:
    """The table "Versioning" of the ONNX documentation."""
    assert oldest_ir(model(opset, kind)) == expected


def test_types_inside_attributes_count() -> None:
    made = model(17)
    weights = helper.make_tensor("w", TensorProto.INT4, [2], [1, 2])
    made.graph.node.append(helper.make_node("Constant", [], ["w"], value=weights))
    assert oldest_ir(made) == 10


def test_only_the_stamp_changes_and_only_downwards(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    onnx.save(model(17), str(file))
    write_oldest(file)
    read = onnx.load(str(file))
    assert read.ir_version == 8
    read.ir_version = 14
    assert read == model(17)
    onnx.save(model(21, ir=8), str(file))  # what says less than it needs is left as it is
    write_oldest(file)
    assert onnx.load(str(file)).ir_version == 8


def test_packages_open_with_old_libraries(packages: dict[str, Path]) -> None:
    """ONNX Runtime 1.20, the oldest of their range, reads IR version 10."""
    for package in packages.values():
        assert manifest(package)["engine"]["versions"] == ">=1.20,<2"
        assert onnx.load(str(package / "model.onnx")).ir_version <= 10
