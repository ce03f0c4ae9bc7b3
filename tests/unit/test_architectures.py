"""YOLOv9 and GELAN networks from tensors alone: every published wiring, at small and real widths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from edgekit.architectures.blocks import Conv, RepConv, activation
from edgekit.architectures.reparameterize import merge
from edgekit.architectures.yolov9 import YOLOv9, flops
from edgekit.architectures.yolov9_topology import kinds, recognise

Elan = tuple[int, int, int, int]  # out, part, process, bottlenecks (0: plain convolutions)


@dataclass
class Size:
    stem: tuple[int, int]
    first: Elan
    stages: tuple[Elan, Elan, Elan]
    downs: tuple[int, int, int]
    spp: int
    neck: tuple[Elan, Elan, Elan, Elan]  # top-down P4, P3, bottom-up P4, P5
    bottom: tuple[int, int]
    down: str = "AConv"
    score_width: int = 0  # of the class branches; 0: as wide as P3 or more


def _plain(*widths: int, n: int) -> list[Elan]:
    return [(w, w, w // 2, n) for w in widths]


T, S = (
    Size(
        (16 * k, 32 * k),
        (32 * k, 32 * k, 16 * k, 0),
        tuple(_plain(64 * k, 96 * k, 128 * k, n=3)),
        (64 * k, 96 * k, 128 * k),
        128 * k,
        tuple(_plain(96 * k, 64 * k, 96 * k, 128 * k, n=3)),
        (48 * k, 64 * k),
        score_width=width,
    )
    for k, width in ((1, 80), (2, 0))
)
M = Size(
    (32, 64),
    (128, 128, 64, 1),
    tuple(_plain(240, 360, 480, n=1)),
    (240, 360, 480),
    480,
    tuple(_plain(360, 240, 360, 480, n=1)),
    (180, 240),
)
_WIDE: Elan = (512, 512, 256, 1)
C = Size(
    (64, 128),
    (256, 128, 64, 1),
    ((512, 256, 128, 1), _WIDE, _WIDE),
    (256, 512, 512),
    512,
    (_WIDE, (256, 256, 128, 1), _WIDE, _WIDE),
    (256, 512),
    "ADown",
)
E = Size(
    (64, 128),
    (256, 128, 64, 2),
    ((512, 256, 128, 2), *2 * ((1024, 512, 256, 2),)),
    (256, 512, 1024),
    512,
    ((512, 512, 256, 2), (256, 256, 128, 2), (512, 512, 256, 2), (512, 1024, 512, 2)),
    (256, 512),
    "ADown",
)
_SMALL: Elan = (16, 16, 8, 1)
SMALL = {
    down: Size(
        (8, 12),
        (16, 12, 6, 0),
        (_SMALL, (24, 16, 8, 2), _SMALL),
        (16, 20, 24),
        16,
        (_SMALL, (8, 16, 8, 1), _SMALL, (24, 16, 8, 1)),
        (8, 12),
        down,
    )
    for down in ("AConv", "ADown", "Conv")
}


class Sketch:
    """Writes down the shapes of a checkpoint, layer by layer."""

    def __init__(self, size: Size, silence: bool = False) -> None:
        self.size, self.shapes, self.widths = size, dict[str, tuple[int, ...]](), list[int]()
        if silence:
            self.pick(3)

    @property
    def last(self) -> int:
        return len(self.widths) - 1

    def pick(self, width: int) -> int:
        """A layer without tensors."""
        self.widths.append(width)
        return self.last

    def _conv(self, name: str, c_in: int, c_out: int, k: int = 1, groups: int = 1) -> None:
        self.shapes[f"{name}.conv.weight"] = (c_out, c_in // groups, k, k)
        for part in ("weight", "bias", "running_mean", "running_var"):
            self.shapes[f"{name}.bn.{part}"] = (c_out,)

    def _csp(self, name: str, c_in: int, c_out: int, depth: int) -> None:
        half = c_out // 2
        self._conv(f"{name}.cv1", c_in, half)
        self._conv(f"{name}.cv2", c_in, half)
        self._conv(f"{name}.cv3", 2 * half, c_out)
        for i in range(depth):
            self._conv(f"{name}.m.{i}.cv1.conv1", half, half, 3)
            self._conv(f"{name}.m.{i}.cv1.conv2", half, half)
            self._conv(f"{name}.m.{i}.cv2", half, half, 3)

    def conv(self, width: int, image: bool = False) -> int:
        self._conv(str(len(self.widths)), 3 if image else self.widths[-1], width, 3)
        return self.pick(width)

    def elan(self, spec: Elan) -> int:
        out, part, process, depth = spec
        name, c_in = str(len(self.widths)), self.widths[-1]
        self._conv(f"{name}.cv1", c_in, part)
        for stage, c in (("cv2", part // 2), ("cv3", process)):
            if depth:
                self._csp(f"{name}.{stage}.0", c, process, depth)
                self._conv(f"{name}.{stage}.1", process, process, 3)
            else:
                self._conv(f"{name}.{stage}", c, process, 3)
        self._conv(f"{name}.cv4", part + 2 * process, out)
        return self.pick(out)

    def down(self, width: int) -> int:
        name, c_in = str(len(self.widths)), self.widths[-1]
        if self.size.down == "Conv":
            return self.conv(width)
        half = 2 if self.size.down == "ADown" else 1
        self._conv(f"{name}.cv1", c_in // half, width // half, 3)
        if half == 2:
            self._conv(f"{name}.cv2", c_in // 2, width // 2)
        return self.pick(width)

    def spp(self, source: int) -> int:
        name, width = str(len(self.widths)), self.size.spp
        self._conv(f"{name}.cv1", self.widths[source], width // 2)
        self._conv(f"{name}.cv5", 2 * width, width)
        return self.pick(width)

    def linear(self, source: int, width: int) -> int:
        self.shapes[f"{len(self.widths)}.conv.weight"] = (width, self.widths[source], 1, 1)
        self.shapes[f"{len(self.widths)}.conv.bias"] = (width,)
        return self.pick(width)

    def backbone(self) -> list[int]:
        size = self.size
        taps = [self.conv(size.stem[0], image=True)]
        self.conv(size.stem[1])
        taps.append(self.elan(size.first))
        for width, stage in zip(size.downs, size.stages):
            self.down(width)
            taps.append(self.elan(stage))
        return taps  # stem, P2, P3, P4, P5

    def top_down(self, p3: int, p4: int, p5: int) -> list[int]:
        levels = [self.spp(p5)]
        for lateral, spec in ((p4, self.size.neck[0]), (p3, self.size.neck[1])):
            self.pick(self.widths[-1])
            self.pick(self.widths[-1] + self.widths[lateral])
            levels.append(self.elan(spec))
        return levels[::-1]  # P3, P4, P5

    def neck(self, p3: int, p4: int, p5: int) -> list[int]:
        n3, n4, n5 = self.top_down(p3, p4, p5)
        levels = [n3]
        for lateral, width, spec in zip((n4, n5), self.size.bottom, self.size.neck[2:]):
            self.down(width)
            self.pick(self.widths[-1] + self.widths[lateral])
            levels.append(self.elan(spec))
        return levels

    def branch(self, taps: Sequence[int]) -> list[int]:
        """The reversible auxiliary branch."""
        for i, tap in enumerate(taps):
            self.linear(tap, sum(self.size.downs[: i + 1]))
        self.conv(self.size.stem[0], image=True)
        self.conv(self.size.stem[1])
        self.elan(self.size.first)
        levels = []
        for width, stage in zip(self.size.downs, self.size.stages):
            self.down(width)
            self.pick(width)
            levels.append(self.elan(stage))
        return levels

    def head(self, classes: int, *levels: Sequence[int], bins: int = 16, groups: int = 4) -> None:
        name = str(len(self.widths))
        for i, group in enumerate(levels):
            first = self.widths[group[0]]
            box = math.ceil(max(first // 4, 4 * bins) / 4) * 4
            score = self.size.score_width or max(first, min(2 * classes, 128))
            for level, at in enumerate(group):
                for cv, width, out, g in ((2 * i + 2, box, 4 * bins, groups), (2 * i + 3, score, classes, 1)):
                    branch = f"{name}.cv{cv}.{level}"
                    self._conv(f"{branch}.0", self.widths[at], width, 3)
                    self._conv(f"{branch}.1", width, width, 3, g)
                    self.shapes[f"{branch}.2.weight"] = (out, width // g, 1, 1)
                    self.shapes[f"{branch}.2.bias"] = (out,)
        self.pick(0)


def gelan(size: Size, classes: int = 3, **head: int) -> Sketch:
    sketch = Sketch(size)
    _, _, *taps = sketch.backbone()
    sketch.head(classes, sketch.neck(*taps), **head)
    return sketch


def small_dual(size: Size, classes: int = 3, mit: bool = False) -> Sketch:
    """yolov9-t and -s: the auxiliary branch is a second way down the pyramid."""
    sketch = Sketch(size)
    _, _, *taps = sketch.backbone()
    levels = sketch.neck(*taps)
    if mit:
        sketch.head(classes, levels)
        sketch.head(classes, sketch.top_down(*taps))
    else:
        sketch.head(classes, sketch.top_down(*taps), levels)
    return sketch


def dual(size: Size, classes: int = 3, heads: int = 2, mit: bool = False) -> Sketch:
    """yolov9-m and -c: the auxiliary branch is a second backbone."""
    sketch = Sketch(size, silence=not mit)
    _, _, *taps = sketch.backbone()
    levels = sketch.neck(*taps)
    if mit:
        sketch.head(classes, levels)
        sketch.head(classes, sketch.branch(taps))
    else:
        sketch.head(classes, sketch.branch(taps), *[levels] * (heads - 1))
    return sketch


def coupled(size: Size, classes: int = 3, heads: int = 1) -> Sketch:
    """gelan-e and yolov9-e: two backbones, the second fed by the first at each scale."""
    sketch = Sketch(size, silence=True)
    taps = sketch.backbone()
    widths = (*size.stem, *size.downs)
    for i, tap in enumerate(taps):
        sketch.linear(tap, sum(widths[: i + 1]))
    second = []
    sketch.conv(size.stem[0], image=True)
    sketch.pick(size.stem[0])
    sketch.conv(size.stem[1])
    sketch.pick(size.stem[1])
    sketch.elan(size.first)
    for width, stage in zip(size.downs, size.stages):
        sketch.down(width)
        sketch.pick(width)
        second.append(sketch.elan(stage))
    auxiliary = [sketch.top_down(*taps[2:])] if heads == 2 else []
    sketch.head(classes, *auxiliary, sketch.neck(*second))
    return sketch


PUBLISHED = {
    "gelan": gelan(SMALL["AConv"]),
    "gelan-base": gelan(SMALL["Conv"]),
    "yolov9-t/s": small_dual(SMALL["AConv"]),
    "yolov9-t/s (MultimediaTechLab)": small_dual(SMALL["AConv"], mit=True),
    "yolov9-m/c": dual(SMALL["ADown"]),
    "yolov9-base": dual(SMALL["Conv"]),
    "yolov9-cf": dual(SMALL["ADown"], heads=3),
    "yolov9-m/c (MultimediaTechLab)": dual(SMALL["AConv"], mit=True),
    "gelan-e": coupled(SMALL["ADown"]),
    "yolov9-e": coupled(SMALL["ADown"], heads=2),
}


def tensors(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Weights that keep activations in range, and batch norms that folding must take seriously."""
    random = torch.Generator().manual_seed(seed)

    def one(name: str, shape: Sequence[int]) -> Tensor:
        values = torch.randn(tuple(shape), generator=random)
        if len(shape) == 4:
            return values * (2 / math.prod(shape[1:])) ** 0.5
        if name.endswith("running_var"):
            return values.abs() / 2 + 0.6
        return 1 + values / 5 if name.endswith("bn.weight") else values / 5

    return {name: one(name, shape) for name, shape in shapes.items()}


def network(sketch: Sketch) -> tuple[YOLOv9, dict[str, Tensor]]:
    topology = recognise(sketch.shapes)
    assert topology is not None
    found, state = YOLOv9(topology, sketch.shapes), tensors(sketch.shapes)
    found.load(state)
    return found.eval(), state


IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))


QUICK = ("yolov9-t/s", "gelan")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in PUBLISHED])
@torch.no_grad()
def test_published_wiring(name: str) -> None:
    sketch = PUBLISHED[name]
    trained, state = network(sketch)
    assert trained.topology.name == name
    assert trained.topology.activation == ("ReLU" if "base" in name else "SiLU")
    assert all(h.strides == [8, 16, 32] for h in trained.heads)
    assert trained.main.classes == 3
    assert trained.main.reg_max == 16

    # Every tensor found a place, and gives itself back under the name it came with.
    own = {k: v for k, v in trained.canonical_state().items() if "num_batches" not in k}
    assert own.keys() == state.keys()
    assert all(torch.equal(own[k], v) for k, v in state.items())
    assert sum(p.numel() for p in trained.parameters()) == sum(
        v.numel() for k, v in state.items() if "running" not in k
    )

    boxes, scores = trained(IMAGE)
    cells = 64 * 96 // 64 * 21 // 16
    assert boxes.shape == (1, cells, 4)
    assert scores.shape == (1, 3, cells)
    assert scores.std() > 0.01
    deployed = trained.deploy()
    small_boxes, small_scores = deployed(IMAGE)
    torch.testing.assert_close(small_boxes, boxes, atol=2e-2, rtol=0)
    torch.testing.assert_close(small_scores, scores, atol=5e-5, rtol=0)

    # Only what inference needs is left, and the training form is as it was.
    assert len(deployed.heads) == 1
    assert not any(isinstance(m, (nn.BatchNorm2d, RepConv)) for m in deployed.modules())
    assert torch.equal(trained(IMAGE)[0], boxes)
    auxiliary = len(trained.heads) > 1
    assert (set(map(int, deployed.layers)) < set(trained.topology.layers)) == auxiliary
    coupled_backbones = name.endswith("-e")
    assert ("CBLinear" in {x.kind for x in deployed.topology.layers.values()}) == coupled_backbones


# Deployed, 80 classes, 640x640, as their authors publish them: 1e6 parameters, 1e9 operations.
# The published T has class branches of 80 channels, which its configuration file no longer gives.
@pytest.mark.parametrize(
    ("sketch", "parameters", "operations"),
    [
        pytest.param(lambda: gelan(T, 80), 2.0, 7.7, id="gelan-t"),
        pytest.param(lambda: small_dual(T, 80), 2.0, 7.7, id="yolov9-t"),
        pytest.param(lambda: gelan(S, 80), 7.1, 26.4, id="gelan-s"),
        pytest.param(lambda: small_dual(S, 80, mit=True), 7.1, 26.4, id="yolov9-s (MIT)"),
        pytest.param(lambda: gelan(S, 80, groups=1), 7.2, 26.9, id="yolov9s (Ultralytics)"),
        pytest.param(lambda: gelan(M, 80), 20.0, 76.3, id="gelan-m"),
        pytest.param(lambda: dual(M, 80), 20.0, 76.3, id="yolov9-m"),
        pytest.param(lambda: gelan(C, 80), 25.3, 102.1, id="gelan-c"),
        pytest.param(lambda: dual(C, 80), 25.3, 102.1, id="yolov9-c"),
        pytest.param(lambda: coupled(E, 80), 57.3, 189.0, id="gelan-e"),
        pytest.param(lambda: coupled(E, 80, heads=2), 57.3, 189.0, id="yolov9-e"),
    ],
)
def test_published_size(sketch, parameters: float, operations: float) -> None:  # type: ignore[no-untyped-def]
    shapes = sketch().shapes
    topology = recognise(shapes)
    assert topology is not None
    with torch.device("meta"):
        deployed = YOLOv9(topology, shapes).deploy()
    assert sum(p.numel() for p in deployed.parameters()) / 1e6 == pytest.approx(parameters, rel=0.01)
    assert flops(deployed) / 1e9 == pytest.approx(operations, rel=0.01)


@pytest.mark.parametrize(("classes", "bins", "groups"), [(1, 16, 4), (5, 8, 1), (200, 16, 1)])
def test_head_is_read_off_the_tensors(classes: int, bins: int, groups: int) -> None:
    trained, _ = network(gelan(SMALL["ADown"], classes, bins=bins, groups=groups))
    assert (trained.main.classes, trained.main.reg_max) == (classes, bins)
    boxes, scores = trained(IMAGE)
    assert scores.shape[:2] == (1, classes)
    assert torch.isfinite(boxes).all()


@torch.no_grad()
def test_folded_checkpoint() -> None:
    trained, _ = network(PUBLISHED["gelan"])
    folded = trained.deploy()
    state = folded.canonical_state()
    shapes = {k: v.shape for k, v in state.items()}
    topology = recognise(shapes)
    assert topology is not None
    again = YOLOv9(topology, shapes)
    again.load(state)
    assert torch.equal(again(IMAGE)[0], folded(IMAGE)[0])
    assert torch.equal(again.deploy()(IMAGE)[1], folded(IMAGE)[1])


@torch.no_grad()
def test_repconv_with_identity_branch() -> None:
    """No published YOLOv9 has this third branch; RepVGG does, and merging knows it."""
    block = RepConv(Conv(8, 8, 3, act="Identity", g=2), Conv(8, 8, act="Identity", g=2), "SiLU", True)
    block.load_state_dict(tensors({k: v.shape for k, v in block.state_dict().items()}), strict=False)
    net = nn.Sequential(block.eval())
    x = torch.randn(1, 8, 5, 5)
    expected = net(x)
    merge(net)
    assert isinstance(net[0], Conv)
    torch.testing.assert_close(net(x), expected, atol=1e-5, rtol=1e-5)


def test_boxes_are_expected_distances_in_strides() -> None:
    trained, _ = network(gelan(SMALL["AConv"], 2, bins=8))
    for box, score in zip(trained.main.box, trained.main.cls):
        for last in (box[-1], score[-1]):
            nn.init.zeros_(last.weight)
        # left, top, right, bottom: bins 0, 1, 2 and halfway between 3 and 4
        logits = torch.full((4, 8), -100.0)
        logits[0, 0] = logits[1, 1] = logits[2, 2] = logits[3, 3] = logits[3, 4] = 100.0
        box[-1].bias.data = logits.flatten()
        score[-1].bias.data = torch.tensor([0.0, math.log(3)])
    boxes, scores = trained(IMAGE)
    torch.testing.assert_close(boxes[0, 13], torch.tensor([12.0, 4, 28, 40]))  # second row of 12, stride 8
    torch.testing.assert_close(boxes[0, -1], torch.tensor([80.0, 16, 144, 160]))
    torch.testing.assert_close(scores[0, :, 0], torch.tensor([0.5, 0.75]))


def test_missing_and_left_over_tensors_are_named() -> None:
    trained, state = network(PUBLISHED["gelan"])
    lost = {k: v for k, v in state.items() if k != "4.cv4.bn.bias"}
    with pytest.raises(KeyError, match=r"layers\.4\.cv4\.bn\.bias"):
        trained.load(lost)
    with pytest.raises(KeyError, match=r"left over.*extra"):
        trained.load({**state, "4.extra.weight": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        trained.load({**state, "4.cv4.bn.bias": torch.zeros(3)})
    trained.load({**state, "22.dfl.conv.weight": torch.arange(16.0)})  # a constant of some layouts


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("4.cv1.conv.weight", (16, 7, 1, 1)),
        ("4.cv1.conv.weight", (16,)),
        ("4.cv1.conv.weight", (0, 0, 1, 1)),
        ("22.cv2.0.2.weight", (64, 0, 1, 1)),
        ("3.cv1.conv.weight", (16, 16, 99, 99)),
    ],
)
def test_shapes_that_fit_nothing(name: str, shape: tuple[int, ...]) -> None:
    shapes = {**PUBLISHED["gelan"].shapes, name: shape}
    topology = recognise(shapes)
    if topology is not None:
        with pytest.raises((RuntimeError, KeyError)):
            YOLOv9(topology, shapes).load(tensors(PUBLISHED["gelan"].shapes))


def test_other_networks_are_not_recognised() -> None:
    shapes = PUBLISHED["gelan"].shapes
    assert recognise({}) is None
    assert recognise({"conv1.weight": (8, 3, 3, 3)}) is None
    assert recognise({k: v for k, v in shapes.items() if not k.startswith("7.")}) is None
    assert recognise({**shapes, "23.cv1.conv.weight": (8, 8, 3, 3)}) is None
    foreign = {**shapes, "2.m.0.cv1.conv.weight": (8, 8, 3, 3)}  # as C2f of YOLOv8 has it
    assert recognise(foreign) is None
    assert kinds(foreign)[2].startswith("unknown")


def test_activation_with_an_argument() -> None:
    leaky = activation("LeakyReLU(0.1)")
    assert isinstance(leaky, nn.LeakyReLU)
    assert leaky.negative_slope == 0.1
    assert isinstance(activation("ReLU"), nn.ReLU)
    with pytest.raises(KeyError):
        activation("Swish2")
