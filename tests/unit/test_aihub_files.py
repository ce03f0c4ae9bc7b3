"""What edgekit keeps of AI Hub: options it would take, the ledger, and files from there."""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.aihub import artefacts, job_options
from edgekit.aihub.environment import REQUIREMENT
from edgekit.aihub.ledger import Ledger, key
from edgekit.diagnosis.installation import requirements, split
from edgekit.errors import MissingError, RemoteError, UsageError
from edgekit.spec import DetectionSpec, ImageSpec, TensorSpec


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        ("--quantize_io", {"quantize_io": ""}),
        ("--quantize_io true --compute_unit npu,cpu", {"quantize_io": "true", "compute_unit": "npu,cpu"}),
        ("--qnn_options='a=1;b=2'", {"qnn_options": "a=1;b=2"}),
    ],
)
def test_options_that_it_takes(text: str, found: dict[str, str]) -> None:
    assert job_options.check("compile", text) == found
    assert job_options.check("compile", job_options.text(found)) == found


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("compile", "--compute_units npu", "--compute_unit"),
        ("compile", "--compute_unit tpu", "(all|npu|gpu|cpu)"),
        ("compile", "--target_runtime tflite", "--runtime"),
        ("compile", "--qairt_version 2.40", "--qairt-version"),
        ("compile", "npu", "--name value"),
        ("compile", "--qnn_options 'a", "No closing quotation"),
        ("inference", "--max_profiler_iterations many", r"\d+"),
        ("link", "--compute_unit npu", "--qnn_options"),
    ],
)
def test_options_that_it_would_refuse_after_the_upload(kind: str, text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        job_options.check(kind, text)
    assert said in f"{refused.value.why} {refused.value.next}"


def test_the_ledger_outlives_the_process_and_forgets_what_the_service_forgot(tmp_path: Path) -> None:
    name = key(model="sha", device="Samsung Galaxy S25")
    assert name == key(device="Samsung Galaxy S25", model="sha") != key(model="other")
    Ledger(tmp_path).begin(name, "compile job")
    begun = Ledger(tmp_path).find(name)
    assert begun is not None and begun.id == "" and begun.what == "compile job"
    Ledger(tmp_path).known(name, "compile job", "j123")
    found = Ledger(tmp_path).find(name)
    assert found is not None and found.id == "j123"
    old = time.time() - 100 * 24 * 3600
    os.utime(tmp_path / f"{name}.json", (old, old))
    Ledger(tmp_path).begin(key(other=1), "upload")
    assert Ledger(tmp_path).find(name) is None


def test_a_damaged_entry_is_as_if_it_had_never_been_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for text in ("", "{", "[]", '{"key": "k"}', '{"key": "k", "what": "w", "more": 1}'):
        (tmp_path / "k.json").write_text(text, encoding="utf-8")
        assert ledger.find("k") is None


def test_a_place_that_cannot_be_written_is_an_error_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(MissingError, match="cannot be noted"):
        Ledger(tmp_path / "file" / "ledger")


def test_a_context_goes_out_beside_its_graph_and_comes_back_inside(tmp_path: Path) -> None:
    spec = DetectionSpec(
        input=TensorSpec("image", "uint8", (1, 8, 8, 3), "NHWC", 1 / 255),
        image=ImageSpec(8, 8),
        outputs=(TensorSpec("boxes", "float32", (1, 4, 4), "BN4"), TensorSpec("scores", "float32", (1, 1, 4), "BCN")),
        labels=("thing",),
        decoder="boxes-scores",
    )
    model = artefacts.wrapped(b"a context", "edgekit", spec, "2.51.0")
    onnx.checker.check_model(onnx.load_from_string(model).graph.node[0].domain and onnx.load_from_string(model))
    place = artefacts.for_upload(model, "qnn", tmp_path)
    assert {p.name for p in place.iterdir()} == {"model.onnx", "model.bin"}
    assert (place / "model.bin").read_bytes() == b"a context"
    back = onnx.load_from_string(artefacts.embedded(place / "model.onnx"))
    (node,) = back.graph.node
    values = {a.name: a for a in node.attribute}
    assert values["ep_cache_context"].s == b"a context" and values["embed_mode"].i == 1
    assert back.graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8


def test_a_context_may_not_be_read_from_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of the user")
    folder = tmp_path / "download"
    folder.mkdir()
    node = helper.make_node("EPContext", [], ["y"], domain="com.microsoft", embed_mode=0, ep_cache_context="../secret")
    graph = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    onnx.save(helper.make_model(graph), folder / "model.onnx")
    with pytest.raises(RemoteError, match="outside its folder"):
        artefacts.embedded(folder / "model.onnx")


def test_a_damaged_archive_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/model.onnx", b"0123456789" * 100)
        archive.writestr("../../escaped.onnx", b"")
    for data, said in ((path.read_bytes()[:-30], "damaged"), (path.read_bytes().replace(b"345", b"999", 1), "damaged")):
        (tmp_path / "bad.zip").write_bytes(data)
        with pytest.raises(RemoteError, match=said):
            artefacts.unpacked(tmp_path / "bad.zip", tmp_path / "out")
    with pytest.raises(RemoteError, match=r"holds 2 \.onnx files"):
        artefacts.unpacked(path, tmp_path / "both")
    assert not (tmp_path.parent / "escaped.onnx").exists() and not (tmp_path / "escaped.onnx").exists()


def test_the_client_that_people_are_told_to_install_is_the_one_of_the_extra() -> None:
    name, wanted = split(REQUIREMENT)
    extra = requirements("aihub")
    assert set(extra) == {name} and set(extra[name].split(",")) == set(wanted.split(","))
