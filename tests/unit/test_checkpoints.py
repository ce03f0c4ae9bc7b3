"""Checkpoints are files of strangers: they are read without running them, or refused."""

from __future__ import annotations

import builtins
import collections
import datetime
import functools
import importlib
import io
import json
import os
import pathlib
import pickle
import random
import runpy
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import Tensor

from edgekit.architectures.yolov9 import YOLOv9
from edgekit.errors import SourceError, UnsafeSourceError
from edgekit.sources.pickle_reader import Inert, read_checkpoint
from edgekit.sources.yolo_layouts import YoloCheckpoint, understand
from tests.data import SHAPES, data

# ---- writing files --------------------------------------------------------------------------


class Storage:
    """Stands for the numbers in `archive/data/0` of a hand-made checkpoint."""


class Claim:
    """A tensor that says about itself whatever it likes."""

    def __init__(self, size: Any, stride: Any, offset: int = 0) -> None:
        self.words = (Storage(), offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return torch._utils._rebuild_tensor_v2, self.words


class Call:
    """An object whose unpickling calls a function."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.words = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.words


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, Storage):
            return ("storage", torch.FloatStorage, "0", "cpu", 4)
        return None


def pickled(obj: Any, protocol: int = 2) -> bytes:
    out = io.BytesIO()
    _Pickler(out, protocol).dump(obj)
    return out.getvalue()


def archive(path: Path, content: bytes, numbers: bytes = bytes(16), method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", content)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data/0", numbers)
    return path


# ---- running code ---------------------------------------------------------------------------

ATTACKS: dict[str, Callable[[str], Any]] = {
    "os.system": lambda f: Call(os.system, f"touch {f}"),
    "eval": lambda f: Call(eval, f"open({f!r}, 'w')"),
    "exec": lambda f: Call(exec, f"open({f!r}, 'w')"),
    "open": lambda f: Call(open, f, "w"),
    "__import__": lambda f: Call(builtins.__import__, "os"),
    "getattr": lambda f: Call(getattr, Call(importlib.import_module, "os"), "system"),
    "getattr of a list": lambda f: Call(getattr, [], "append"),
    "subprocess": lambda f: Call(subprocess.Popen, ["touch", f]),
    "subprocess.check_output": lambda f: Call(subprocess.check_output, ["touch", f]),
    "runpy": lambda f: Call(runpy.run_path, f),
    "partial": lambda f: Call(functools.partial, os.system, f"touch {f}"),
    "partial, called": lambda f: Call(functools.reduce, os.system, [f"touch {f}"]),
    "pickle in pickle": lambda f: Call(pickle.loads, pickle.dumps(Call(os.system, f"touch {f}"))),
    "torch.load": lambda f: Call(torch.load, f),
    "torch.hub.load": lambda f: Call(torch.hub.load, f, "model"),
    "torch.serialization": lambda f: Call(torch.serialization.load, f),
    "torch storage": lambda f: Call(torch.storage._load_from_bytes, pickle.dumps(Call(os.system, f"touch {f}"))),
    "torch.jit.load": lambda f: Call(torch.jit.load, f),
    "numpy.load": lambda f: Call(np.load, f, None, True),
    "numpy.save": lambda f: Call(np.save, f, 1),
    "in a state dict": lambda f: {"state_dict": {"0.conv.weight": torch.zeros(1), "x": Call(os.system, f"touch {f}")}},
    "as a key": lambda f: {Call(os.system, f"touch {f}"): 1},
    "as state": lambda f: Call(collections.OrderedDict, state={"a": Call(os.system, f"touch {f}")}),
    "as an argument": lambda f: Call(pathlib.PurePosixPath, Call(os.system, f"touch {f}")),
}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("name", ATTACKS)
def test_calls_are_refused(name: str, protocol: int, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    file = tmp_path / "model.pt"
    content = ATTACKS[name](str(ran))
    if name == "in a state dict":
        torch.save(content, file, pickle_protocol=max(protocol, 2))
    else:
        archive(file, pickled(content, protocol))
    with pytest.raises(UnsafeSourceError, match="asks to run"):
        read_checkpoint(file)
    assert not ran.exists()


@pytest.mark.parametrize("name", ["os.system", "subprocess", "torch.hub.load"])
def test_the_attacks_above_do_work_on_others(name: str, tmp_path: Path) -> None:
    """Or the test before proves nothing: unpickled as usual, `touch` runs."""
    ran = tmp_path / "ran"
    content = pickle.dumps(ATTACKS[name](str(ran)))
    if name == "torch.hub.load":
        with pytest.raises((ValueError, FileNotFoundError)):
            pickle.loads(content)
        return
    made = pickle.loads(content)
    if isinstance(made, subprocess.Popen):
        made.wait()
    assert ran.exists()


@pytest.mark.parametrize(
    ("opcodes", "refused"),
    [
        (b"(S'touch RAN'\nios\nsystem\n.", True),  # INST
        (b"(cos\nsystem\nS'touch RAN'\no.", True),  # OBJ
        (b"cos\nsystem\n(S'touch RAN'\ntR.", True),  # REDUCE
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x09touch RAN\x85R.", True),  # STACK_GLOBAL
        (b"\x80\x04\x8c\x08builtins\x8c\x09str.split\x93\x8c\x03a b\x85R.", True),  # dotted names
        (b"\x80\x04\x8c\x05torch\x8c\x0bhub.os.exit\x93K\x01\x85R.", True),
        (b"ctypes\nFunctionType\n(ctypes\nCodeType\n(I0\ntRtR.", True),
        (b"\x80\x02cos\nsystem\nU\x09touch RAN\x85\x81.", False),  # NEWOBJ: an instance, no call
        (b"ccopyreg\n_reconstructor\n(cos\nsystem\nc__builtin__\nobject\nNtR.", False),
        (b"\x80\x02\x82\x01.", False),  # EXT1
        (b"cos\nsystem\n}S'__setstate__'\ncos\nsystem\nsb.", False),  # BUILD on a class
    ],
)
def test_opcodes(opcodes: bytes, refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = archive(tmp_path / "model.pt", opcodes)
    try:
        found = read_checkpoint(file)
    except SourceError as error:
        assert isinstance(error, UnsafeSourceError) == refused  # noqa: PT017
    else:
        assert not refused
        assert isinstance(found, Inert)
    assert not (tmp_path / "RAN").exists()


def test_a_file_cannot_change_how_the_next_is_read(tmp_path: Path) -> None:
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    good = archive(tmp_path / "good.pt", pickled(Claim((2, 2), (2, 1))))
    for function in (
        rebuild,
        rebuild.replace(b"tensor_v2", b"parameter"),
        b"ccollections\ndefaultdict\n",
        b"ccollections\nOrderedDict\n",
        b"ctorch\nfloat32\n",
        b"cposix\nsystem\n",
    ):
        for state in (
            b"(N(S'__defaults__'\n(I1\ntdt",
            b"(S'__setstate__'\ncposix\nsystem\nd",
            b"(N(S'__call__'\ncposix\nsystem\ndt",
            b"(N(S'path'\nS'torch._utils.x'\ndt",
        ):
            with pytest.raises(SourceError):
                read_checkpoint(archive(tmp_path / "bad.pt", function + state + b"b."))
            assert read_checkpoint(good).shape == (2, 2)


def test_messages_do_not_carry_escape_codes(tmp_path: Path) -> None:
    content = b"\x80\x04\x8c\x05os\x1b[2\x8c\x03rm\n\x93\x8c\x04\x1b[2J\x85R."
    with pytest.raises(UnsafeSourceError) as caught:
        read_checkpoint(archive(tmp_path / "model.pt", content))
    assert "\x1b" not in str(caught.value)
    assert str(caught.value).count("\n") == 2  # what, why, next


def test_what_trainers_write_is_inert(tmp_path: Path) -> None:
    extras = {
        "date": datetime.datetime(2024, 2, 21),
        "save_dir": pathlib.PurePosixPath("runs/train"),
        "fitness": np.float64(0.5),
        "results": np.zeros(3),
        "options": types.SimpleNamespace(epochs=1),
        "device": torch.device("cpu"),
        "counts": collections.defaultdict(list, a=[1]),
        "set": {1, 2},
        "weights": torch.nn.Parameter(torch.ones(2)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "dtype": torch.float16,
        "size": torch.Size([1, 2]),
        "activation": torch.nn.SiLU(),
    }
    torch.save(extras, tmp_path / "model.pt")
    found = read_checkpoint(tmp_path / "model.pt")
    for name in ("date", "save_dir", "fitness", "results", "options", "device", "activation"):
        assert isinstance(found[name], Inert), name
    assert torch.equal(found["weights"], torch.ones(2))
    assert (found["half"].dtype, found["dtype"]) == (torch.bfloat16, torch.float16)
    assert (found["size"], found["set"]) == ((1, 2), {1, 2})


# ---- damaged and dishonest files ------------------------------------------------------------


@pytest.mark.parametrize(
    "claim",
    [
        Claim((5,), (1,)),
        Claim((2, 2), (4, 1)),
        Claim((1,), (1,), 4),
        Claim((1,), (1,), -1),
        Claim((2,), (-1,), 1),
        Claim((-2,), (1,)),
        Claim((2,), ()),
        Claim((10**6, 10**6), (0, 0)),
        Claim((2**62, 4), (0, 1)),
        Claim(("a",), (1,)),
        Claim(None, None),
        Claim((1,), (1,), "x"),
        Call(torch._utils._rebuild_tensor_v2, [1.0], 0, (1,), (1,), False, {}),
    ],
)
def test_dishonest_tensors(claim: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read_checkpoint(archive(tmp_path / "model.pt", pickled({"x": claim})))


def test_honest_tensors(tmp_path: Path) -> None:
    x = torch.arange(12.0)
    saved = {"view": x[2:8:2], "transposed": x.view(3, 4).t(), "scalar": x[3], "none": torch.empty(0, 4)}
    torch.save(saved, tmp_path / "model.pt")
    found = read_checkpoint(tmp_path / "model.pt")
    assert all(torch.equal(found[k], v) for k, v in saved.items())


def test_zip_bomb(tmp_path: Path) -> None:
    content = pickled(Claim((1,), (1,)))
    file = archive(tmp_path / "model.pt", content, bytes(4 << 20), zipfile.ZIP_DEFLATED)
    with pytest.raises(SourceError, match="more than the file holds"):
        read_checkpoint(file)


def test_not_a_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    for content in (b"", b"PK\x03\x04", b"\x80\x02}.", random.Random(0).randbytes(999)):
        file.write_bytes(content)
        with pytest.raises(SourceError, match="not a torch checkpoint, or it is truncated"):
            read_checkpoint(file)
    torch.save({"x": torch.ones(2)}, file, _use_new_zipfile_serialization=False)
    with pytest.raises(SourceError, match=r"before 1\.6"):
        read_checkpoint(file)
    with zipfile.ZipFile(file, "w") as other:
        other.writestr("word/document.xml", "<x/>")
    with pytest.raises(SourceError, match=r"holds no data\.pkl"):
        read_checkpoint(file)


def test_every_truncation_and_flipped_byte_is_an_error_or_harmless(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    torch.save({"model": {"0.conv.weight": torch.ones(2, 3), "names": ["a", "b"]}}, file)
    whole, luck = file.read_bytes(), random.Random(0)
    content = pickled({"model": {"0.conv.weight": Claim((2, 2), (2, 1)), "names": ["a"]}})
    for i in range(400):
        damaged = bytearray(whole if i % 2 else content)
        if i % 4 < 2:
            del damaged[luck.randrange(len(damaged)) :]
        else:
            damaged[luck.randrange(len(damaged))] = luck.randrange(256)
        if i % 2:
            file.write_bytes(damaged)
        else:
            archive(file, bytes(damaged))
        try:
            understand(read_checkpoint(file), file)
        except SourceError as error:
            assert error.what  # noqa: PT017


# ---- layouts --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample() -> dict[str, Tensor]:
    with safe_open(str(SHAPES / "shapes.safetensors"), "pt") as file:
        return {k.removeprefix("model."): file.get_tensor(k) for k in file.keys()}  # noqa: SIM118


@torch.no_grad()
def outputs(found: YoloCheckpoint, image: Tensor | None = None) -> tuple[Tensor, Tensor]:
    network = YOLOv9(found.topology, {k: v.shape for k, v in found.tensors.items()}).eval()
    network.load(found.tensors)
    if image is None:
        image = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    return network(image)


def reread(obj: Any, path: Path) -> YoloCheckpoint:
    torch.save(obj, path)
    return understand(read_checkpoint(path), path)


def spelled_out(name: str) -> str:
    """The name MultimediaTechLab/YOLO gives a tensor, which edgekit reads back."""
    head, _, rest = name.partition(".")
    if head == "22":
        cv, level, rest = rest.split(".", 2)
        return f"22.heads.{level}.{'anchor' if cv == 'cv2' else 'class'}_conv.{rest}"
    rest = rest.replace(".m.", ".bottleneck.")
    parts = [f"conv{p[2]}" if p[:2] == "cv" else p for p in rest.split(".")]
    if head in ("3", "5", "7", "16", "19"):  # AConv
        parts[0] = "conv"
    return ".".join((head, *parts))


def test_state_dicts(sample: dict[str, Tensor], tmp_path: Path) -> None:
    expected = outputs(understand(sample, tmp_path))
    noise = {k: torch.rand(v.shape).to(v.dtype) for k, v in sample.items()}

    def prefixed(prefix: str, state: dict[str, Tensor] = sample) -> dict[str, Tensor]:
        return {prefix + k: v for k, v in state.items()}

    files: dict[str, Any] = {
        "plain": sample,
        "module": prefixed("module.model."),
        "model": {"epoch": 3, "model": prefixed("model."), "optimizer": {"state": {}}},
        "ema first": {"model": prefixed("model.", noise), "ema": prefixed("model."), "updates": 7},
        "no ema yet": {"model": sample, "ema": None},
        "name of the model": {"model": "gelan", "state_dict": sample},
        "lightning": {"state_dict": prefixed("model.model."), "pytorch-lightning_version": "2.4"},
        "lightning ema": {"state_dict": prefixed("model.model.", noise) | prefixed("ema.model.")},
        "spelled out": {spelled_out(k): v for k, v in sample.items()},
    }
    for name, content in files.items():
        found = outputs(reread(content, tmp_path / "model.pt"))
        assert torch.equal(found[0], expected[0]), name
        assert torch.equal(found[1], expected[1]), name


def test_other_networks(sample: dict[str, Tensor], tmp_path: Path) -> None:
    resnet = {"conv1.weight": torch.ones(8, 3, 7, 7), "layer1.0.conv1.weight": torch.ones(8, 8, 3, 3)}
    yolov8 = {"model.0.conv.weight": torch.ones(8, 3, 3, 3), "model.2.m.0.cv1.conv.weight": torch.ones(4, 4, 3, 3)}
    half = {k: v for k, v in sample.items() if int(k.split(".")[0]) < 12}
    hollow = sample | {"4.cv1.conv.weight": torch.empty(10**9, 0, 1, 1)}
    for state, why in (
        (resnet, "fit none"),
        (yolov8, r"layer 2 is unknown \(m\)"),
        (half, "fit none"),
        (hollow, "has no elements"),
    ):
        with pytest.raises(SourceError, match=why):
            understand(state, tmp_path / "model.pt")
    for root in (
        {},
        [],
        None,
        {"model": None},
        {"model": {"a": 1}},
        torch.ones(3),
        {"optimizer": {"x": torch.ones(1)}},
    ):
        with pytest.raises(SourceError, match="holds no model"):
            understand(root, tmp_path / "model.pt")


# ---- pickled networks, as WongKinYiu/yolov9 and Ultralytics save them -------------------------


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes objects of classes that exist only while the file is written."""

    def make(kind: str, module: str = "models.common", **attributes: Any) -> Any:
        for name in ("models", module):
            if name not in sys.modules:
                monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        home = sys.modules[module]
        if not hasattr(home, kind):
            monkeypatch.setattr(home, kind, type(kind, (), {"__module__": module}), raising=False)
        made = getattr(home, kind)()
        made.__dict__ |= {"_modules": {}, "_parameters": {}, "_buffers": {}} | attributes
        return made

    return make


@pytest.fixture
def detector(node: Callable[..., Any], sample: dict[str, Tensor]) -> Any:
    """The sample detector as a pickled GELAN of WongKinYiu/yolov9."""
    topology = understand(sample, Path("shapes")).topology
    names = {"ELAN": "RepNCSPELAN4", "Identity": "Silence"}
    layers = {
        str(i): node(names.get(layer.kind, layer.kind), i=i, f=list(layer.sources))
        for i, layer in topology.layers.items()
    }
    head = topology.heads[0]
    layers[str(head.index)] = node("DDetect", "models.yolo", f=list(head.sources))
    for name, tensor in sample.items():
        *path, last = name.split(".")
        here = layers[path[0]]
        for part in path[1:]:
            kind = "Part" if part not in ("conv", "bn") else {"conv": "Conv2d", "bn": "BatchNorm2d"}[part]
            new = node(kind, **({"stride": (2, 2)} if kind == "Conv2d" else {}))
            here = here._modules.setdefault(part, new)
        here._parameters[last] = tensor
        if path[-1] == "conv":
            owner = functools.reduce(lambda m, p: m._modules[p], path[1:-1], layers[path[0]])
            owner._modules["act"] = node("SiLU")
    sequence = node("Sequential")
    sequence._modules = layers
    model = node("DetectionModel", "models.yolo", names={1: "b", 0: "a"})
    model._modules["model"] = sequence
    return model


def layer(detector: Any, *path: str) -> Any:
    return functools.reduce(lambda m, p: m._modules[p], path, detector._modules["model"])


def test_pickled_network(detector: Any, node: Callable[..., Any], sample: dict[str, Tensor], tmp_path: Path) -> None:
    expected = outputs(understand(sample, tmp_path))
    file = tmp_path / "model.pt"
    found = reread({"model": None, "ema": detector, "epoch": -1, "license": "GPL-3.0"}, file)
    assert (found.labels, found.licence) == (("a", "b"), "GPL-3.0")
    assert found.layout == "WongKinYiu/yolov9 pickled model"
    assert torch.equal(outputs(found)[0], expected[0])
    assert torch.equal(outputs(found)[1], expected[1])

    parallel = node("DataParallel")
    parallel._modules["module"] = detector
    assert torch.equal(outputs(reread({"model": parallel}, file))[0], expected[0])


def _activations(detector: Any) -> list[Any]:
    todo, found = [detector], []
    while todo:
        children = todo.pop()._modules
        found += [m for n, m in children.items() if n == "act"]
        todo += children.values()
    return found


def test_pickled_activation(detector: Any, node: Callable[..., Any], tmp_path: Path) -> None:
    for act in _activations(detector):
        act.__class__ = type(node("LeakyReLU"))
        act.negative_slope = 0.1
    found = reread({"model": detector}, tmp_path / "model.pt")
    assert found.topology.activation == "LeakyReLU(0.1)"
    leaky = outputs(found)[1]
    _activations(detector)[0].negative_slope = 0.2
    with pytest.raises(SourceError, match=r"mixes the activations LeakyReLU\(0\.1\), LeakyReLU\(0\.2\)"):
        reread({"model": detector}, tmp_path / "model.pt")
    for act in _activations(detector):
        act.negative_slope = 0.2
    assert not torch.equal(outputs(reread({"model": detector}, tmp_path / "model.pt"))[1], leaky)


@pytest.mark.parametrize(
    ("path", "attribute", "value", "why"),
    [
        (("0", "bn"), "eps", 1e-5, r"BatchNorm2d has eps 1e-05 instead of 0\.001"),
        (("10",), "scale_factor", 3.0, "Upsample has scale_factor"),
        (("10",), "mode", "bilinear", "Upsample has mode"),
        (("11",), "d", 2, "Concat has d 2"),
        (("4",), "f", "x", "cannot be followed"),
        (("4",), "_modules", 3, "cannot be followed"),
        (("0", "conv"), "stride", None, "cannot be followed"),
    ],
)
def test_pickled_networks_that_compute_something_else(
    detector: Any, tmp_path: Path, path: tuple[str, ...], attribute: str, value: Any, why: str
) -> None:
    setattr(layer(detector, *path), attribute, value)
    with pytest.raises(SourceError, match=why):
        reread({"model": detector}, tmp_path / "model.pt")


def test_pickled_foreign_blocks_are_named(detector: Any, node: Callable[..., Any], tmp_path: Path) -> None:
    layer(detector)._modules |= {"4": node("C2f"), "9": node("SPPF")}
    with pytest.raises(SourceError, match="it is built from C2f, SPPF"):
        reread({"model": detector}, tmp_path / "model.pt")
    with pytest.raises(SourceError, match="the pickled Linear has no numbered layers"):
        reread({"model": node("Linear")}, tmp_path / "model.pt")


def test_modules_without_end(detector: Any, node: Callable[..., Any], tmp_path: Path) -> None:
    itself = node("Part")
    itself._modules = {"a": itself}
    layer(detector, "4")._modules["loop"] = itself
    with pytest.raises(SourceError, match="without end"):
        reread({"model": detector}, tmp_path / "model.pt")

    wide = node("Part")  # no loop, but 20 ** 10 modules
    for _ in range(10):
        above = node("Part")
        above._modules = {f"m{i}": wide for i in range(20)}
        wide = above
    layer(detector, "4")._modules["loop"] = wide
    with pytest.raises(SourceError, match="without end"):
        reread({"model": detector}, tmp_path / "model.pt")


def test_pickled_wiring_that_does_not_fit(detector: Any, tmp_path: Path) -> None:
    for sources in ([-9], [99], [0]):
        layer(detector, "6").f = sources
        found = reread({"model": detector}, tmp_path / "model.pt")
        with pytest.raises((KeyError, RuntimeError)):  # which the source turns into SourceError
            outputs(found)


# ---- real checkpoints -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "layout", "licence"),
    [
        ("ultralytics_yolov9t_coco.pt", "Ultralytics pickled model", "AGPL-3.0"),
        ("wky_gelan-t_Detect_coco.pt", "WongKinYiu/yolov9 pickled model", ""),
        ("mit_v9-t_coco_usegroupFalse.pt", "MultimediaTechLab/YOLO state dict", ""),
    ],
)
def test_real_checkpoints_hold_the_same_detector(name: str, layout: str, licence: str) -> None:
    import onnxruntime as ort

    file = data(f"yolov9t_coco/{name}")
    found = understand(read_checkpoint(file), file)
    assert found.layout == layout
    assert found.licence.startswith(licence)
    assert found.labels[:2] == (() if layout.endswith("dict") else ("person", "bicycle"))
    reference = ort.InferenceSession(str(data("yolov9t_coco/yolov9t_coco_640.onnx")))
    photo = Image.open(data("images/samples/bus.jpg")).convert("RGB").resize((640, 640))
    image = np.asarray(photo, np.float32).transpose(2, 0, 1)[None] / 255
    expected = torch.from_numpy(reference.run(None, {"images": image})[0]).float()
    boxes, scores = outputs(found, torch.from_numpy(image))
    centre, size = expected[:, :4].transpose(1, 2).chunk(2, 2)
    corners = torch.cat((centre - size / 2, centre + size / 2), 2)
    # Two of them hold float16 weights, which move the boxes of empty cells by a few pixels.
    found_there = expected[0, 4:].amax(0) > 0.25
    assert found_there.sum() > 5
    torch.testing.assert_close(boxes[:, found_there], corners[:, found_there], atol=0.3, rtol=0)
    torch.testing.assert_close(scores, expected[:, 4:], atol=2e-2, rtol=0)


def test_sample_says_what_it_is() -> None:
    with safe_open(str(SHAPES / "shapes.safetensors"), "pt") as file:
        assert len(json.loads(file.metadata()["names"])) == 8
