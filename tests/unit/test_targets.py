"""Targets: every file loads, and what it says of a chip is whole, sourced, and fits the others."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from edgekit.devices.address import simulator_of
from edgekit.errors import UsageError
from edgekit.graph.count import has_operator
from edgekit.registry import names
from edgekit.runtime import soc
from edgekit.spec import Precision
from edgekit.target import Target, find_target, merge, targets
from tests.data import ROOT

BUILT_IN = {p.stem: find_target(str(p)) for p in sorted((ROOT / "targets").glob("*.toml"))}
SNAPDRAGONS = {name: t for name, t in BUILT_IN.items() if t.backend == "qnn"}

snapdragon = pytest.mark.parametrize("target", SNAPDRAGONS.values(), ids=SNAPDRAGONS)


def test_every_built_in_target_loads() -> None:
    assert {"cpu", "tflite", "snapdragon-8-elite", "qcs6490"} <= set(BUILT_IN) <= set(targets())
    for name, target in BUILT_IN.items():
        assert target.name == name and target.about and target.precisions, name
        assert target.backend in names("backends"), name
        assert len(set(target.precisions)) == len(target.precisions), name


@snapdragon
def test_a_snapdragon_says_which_chip_it_is_and_who_says_so(target: Target) -> None:
    (chip,) = target.chips
    assert target.source.startswith("https://")
    assert chip.soc_id > 0 and chip.htp >= 68  # older ones have no tensor processor
    assert chip.soc in target.about or chip.soc in target.name.upper()
    assert f"Hexagon v{chip.htp}" in target.about


@snapdragon
def test_fp16_is_offered_where_the_chip_computes_it_and_is_the_default_there(target: Target) -> None:
    (chip,) = target.chips
    floats = (Precision.FP16,) if chip.fp16 else ()
    assert target.precisions == (*floats, Precision.W8A16, Precision.W8A8)
    assert ("integers only" in target.about) is not chip.fp16


@snapdragon
def test_a_snapdragon_is_simulated_here_and_measured_at_ai_hub(target: Target) -> None:
    (chip,) = target.chips
    assert simulator_of(target.devices) == "sim:htp"
    measuring = [d.removeprefix("aihub:") for d in target.devices if d.startswith("aihub:")]
    assert measuring == list(chip.aihub[:1])


@snapdragon
def test_a_running_system_recognises_the_chip(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    (chip,) = target.chips
    assert chip.android
    for name in (chip.soc, *chip.android):
        monkeypatch.setattr(soc, "_sources", lambda name=name: ["", name])
        assert soc.find_soc() == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("SM8750P", "SM8750P"),
        ("SM8650-AC", "SM8650"),
        ("CQ8725S", "CQ8725S"),
        ("SG8275", "SG8275"),
        ("Qualcomm Technologies, Inc. qcm6490", "QCM6490"),
        ("qcom,qcs6490-rb3gen2\0qcom,qcm6490\0", "QCS6490"),
        ("Snapdragon(R) X Elite - X1E78100 - Qualcomm(R) Oryon(TM) CPU", "X1E78100"),
        ("Snapdragon(R) X 10-core X1P64100 @ 3.40 GHz", "X1P64100"),
        ("Snapdragon(R) X - X126100 - Qualcomm(R) Oryon(TM) CPU", "X126100"),
        ("Tensor G3", ""),
        ("MT6989", ""),
        ("raspberrypi,5-model-b\0brcm,bcm2712\0", ""),
        ("AMD64 Family 25 Model 1 Stepping 1, AuthenticAMD", ""),
    ],
)
def test_names_as_systems_write_them(text: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soc, "_sources", lambda: [text])
    assert soc.find_soc() == name


def test_no_chip_is_taken_for_another() -> None:
    chips = [t.chips[0] for t in SNAPDRAGONS.values()]
    called = [name for c in chips for name in {c.soc, *c.android}]
    assert len(set(called)) == len(called)
    own = [c.soc_id for c in chips if not c.proxy]
    assert len(set(own)) == len(own)


@snapdragon
def test_published_figures_were_measured_on_the_chip_itself(target: Target) -> None:
    (chip,) = target.chips
    assert not (chip.proxy and target.published)
    graph = helper.make_graph(
        [helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], strides=[1, 1])],
        "pool",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 7, 7])],
    )
    for published in target.published:
        assert published.device in chip.aihub
        assert published.precision in target.precisions and not published.precision.is_float
        assert published.ms > 0 and (published.float_ms is None or published.float_ms > 0)
        assert (published.float_ms is None) is not chip.fp16
        assert has_operator(helper.make_model(graph), published.operator)
        assert "NPU" in published.source and "0.65.0" in published.source


@snapdragon
def test_what_is_known_of_v68_is_said(target: Target) -> None:
    (chip,) = target.chips
    assert any("issues/26686" in n for n in chip.notes) is (chip.htp == 68)


@pytest.mark.slow
def test_the_compiler_takes_every_chip_for_the_one_it_is() -> None:
    """An id that it does not know it refuses; a name that it does not know it takes for v68."""
    pytest.importorskip("onnxruntime_qnn")
    chips = {name: [t.chips[0].soc_id, t.chips[0].htp] for name, t in SNAPDRAGONS.items()}
    ran = subprocess.run(  # of its own: the library is native
        [sys.executable, "-c", _COMPILE, json.dumps(chips)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        encoding="utf-8",
        errors="replace",
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    taken = json.loads(ran.stdout.splitlines()[-1])
    assert taken == {name: soc_id for name, (soc_id, _) in chips.items()}


_COMPILE = """
import json, sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
from edgekit.qnn.context import compile_context
from edgekit.devices.address import simulator_of
from edgekit.target import Chip

values = {"w": np.ones((8, 3, 3, 3), np.int8), "ws": np.float32(0.01), "wz": np.int8(0),
          "s": np.float32(0.02), "z": np.uint8(128)}
nodes = [helper.make_node(kind, takes, gives) for kind, takes, gives in (
    ("QuantizeLinear", ["x", "s", "z"], ["xq"]), ("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
    ("DequantizeLinear", ["w", "ws", "wz"], ["wd"]), ("Conv", ["xd", "wd"], ["c"]),
    ("QuantizeLinear", ["c", "s", "z"], ["cq"]), ("DequantizeLinear", ["cq", "s", "z"], ["y"]))]
model = helper.make_model(helper.make_graph(
    nodes, "conv", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 14, 14])],
    [numpy_helper.from_array(np.asarray(v), n) for n, v in values.items()]),
    opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
taken = {}
for name, (soc_id, htp) in json.loads(sys.argv[1]).items():
    context = onnx.load_from_string(compile_context(model, Chip(name, soc_id, htp)))
    (info,) = [p.value for p in context.metadata_props if p.key.startswith("ep_compatibility_info")]
    taken[name] = int(info.split(":")[5])  # v2:backend:QAIRT:API:architecture:chip
print(json.dumps(taken))
"""


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="no target called snapdragon-8-elite-2") as refused:
        find_target("snapdragon-8-elite-2")
    assert "snapdragon-8-elite," in refused.value.why and "edgekit targets" in refused.value.next
    with pytest.raises(UsageError, match="no target called toaster") as refused:
        find_target("toaster")
    assert not refused.value.why


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        ("precisions = ", "Invalid value"),
        ("", "precisions"),
        ('precisions = ["int8"]', "int8"),
        ('precisions = ["w8a8"]\n[chip]\nsoc = "SM8750"\nhtp = 79', "soc_id"),
        ('precisions = ["w8a8"]\n[chip]\nsoc = "SM8750"\nsoc_id = "69"\nhtp = 79', "soc_id"),
        ('precisions = ["w8a8"]\n[[published]]\nmodel = "net"', "published"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(rest: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'about = "mine"\nbackend = "qnn"\n{rest}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be used") as refused:
        find_target(str(file))
    assert str(file) in str(refused.value) and said in str(refused.value)


def test_merged_targets_share_a_package() -> None:
    wanted = [SNAPDRAGONS[n] for n in ("snapdragon-8-elite", "qcs6490")]
    strict = replace(wanted[1], tolerance={"map_drop": 0.001})
    both = merge([wanted[0], strict])
    assert both.name == "snapdragon-8-elite+qcs6490"
    assert [c.soc for c in both.chips] == ["SM8750", "QCS6490"]
    assert both.precisions == (Precision.W8A16, Precision.W8A8)  # one of them has no float
    assert both.tolerance["map_drop"] == 0.001
    assert both.published == wanted[0].published + wanted[1].published


def test_what_cannot_be_merged_is_refused() -> None:
    elite = SNAPDRAGONS["snapdragon-8-elite"]
    for wanted in ([], [elite], [elite, BUILT_IN["cpu"]]):
        with pytest.raises(UsageError, match="--merge cannot make one package"):
            merge(wanted)
    with pytest.raises(UsageError, match="share no precision"):
        merge([replace(elite, precisions=(Precision.FP16,)), SNAPDRAGONS["qcs6490"]])
