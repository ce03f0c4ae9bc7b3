"""A model that crashes its engine, or asks it for any memory, ends one process and not the machine."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests.altered import put
from tests.data import SHAPES, data

TOOL = Path(sys.executable).with_name("edgekit")
IMAGE = SHAPES / "eval/images/9002-0001.jpg"
linux = pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")


@linux
def test_a_model_that_asks_for_any_memory(packages: dict[str, Path], tmp_path: Path) -> None:
    """18 GB of zeros, in a file of two megabytes: less than some machines have, more than it may."""
    folder = tmp_path / "package"
    shutil.copytree(packages["fp32"], folder)
    model = onnx.load(folder / "model.onnx")
    model.graph.initializer.append(helper.make_tensor("many", TensorProto.INT64, [1], [4_500_000_000]))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
    model.graph.node.append(helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("sum", 1, []))
    put(folder, "model.onnx", model.SerializeToString())
    for words in (("detect", folder, IMAGE), ("profile", folder, "--launches", 2, "--iterations", 3, "--no-record")):
        ran = subprocess.run([TOOL, *map(str, words)], capture_output=True, check=False, timeout=120, cwd=tmp_path)
        assert ran.returncode == 6 and ran.stderr.count(b"error:") == 1, ran.stderr
        assert b"Traceback" not in ran.stderr


@linux
def test_a_source_that_asks_for_any_memory_when_it_runs(tmp_path: Path) -> None:
    """16 GB of zeros whose number only the image tells, so that nothing folds them before."""
    model = onnx.load(data("yolov9t_coco/yolov9t_coco_640.onnx"))
    image, found = model.graph.input[0].name, model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["inner" if o == found.name else o for o in node.output]
    float_, long_ = TensorProto.FLOAT, TensorProto.INT64
    model.graph.initializer.append(helper.make_tensor("nothing", float_, [], [0.0]))
    model.graph.initializer.append(helper.make_tensor("many", float_, [1], [4.0e9]))
    kind = found.type.tensor_type.elem_type
    for operator, takes, gives, given in (
        ("ReduceMax", [image], "most", {"keepdims": 0}),
        ("Cast", ["most"], "brightest", {"to": float_}),
        ("Mul", ["brightest", "nothing"], "zero", {}),
        ("Add", ["zero", "many"], "size", {}),
        ("Cast", ["size"], "whole", {"to": long_}),
        ("ConstantOfShape", ["whole"], "zeros", {}),
        ("ReduceSum", ["zeros"], "sum", {"keepdims": 0}),
        ("Cast", ["sum"], "more", {"to": kind}),
        ("Add", ["inner", "more"], found.name, {}),
    ):
        model.graph.node.append(helper.make_node(operator, takes, [gives], **given))
    onnx.save(model, tmp_path / "m.onnx")
    words = (
        "convert",
        "m.onnx",
        "-p",
        "fp32",
        "--launches",
        "0",
        "--labels",
        "coco",
        "--decoder",
        "yolov8",
        "-o",
        "out",
    )
    ran = subprocess.run([TOOL, *words], capture_output=True, check=False, timeout=120, cwd=tmp_path)
    assert ran.returncode in (5, 6) and ran.stderr.count(b"error:") == 1, ran.stderr
    assert b"Traceback" not in ran.stderr and not list(tmp_path.glob("out/*"))


def started(package: Path, tmp_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """`edgekit chat` waiting for a question, and the process that its engine is in."""
    process = subprocess.Popen(
        [TOOL, "chat", package],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        # not ignored, as it is in what a shell starts in the background
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    assert b"tokens of context" in process.stderr.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    return process, int(children.split()[0])


@linux
def test_an_engine_that_crashes_is_one_error(text_packages: dict[str, Path], tmp_path: Path) -> None:
    process, child = started(text_packages["fp32"], tmp_path)
    subprocess.run(["kill", "-SEGV", str(child)], check=True)
    assert process.stderr is not None
    said = process.stderr.read()
    assert process.wait(60) == 6 and said.count(b"error:") == 1 and b"SIGSEGV" in said, said


@linux
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_both_processes_end_together(number: int, code: int, text_packages: dict[str, Path], tmp_path: Path) -> None:
    process, child = started(text_packages["fp32"], tmp_path)
    process.send_signal(number)
    assert process.wait(60) == code
    until = time.monotonic() + 30
    while Path(f"/proc/{child}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()
