"""The sample detector's network: a GELAN, narrower than gelan-t, of edgekit's own architecture."""

from __future__ import annotations

import json
import math
import os
from itertools import pairwise
from pathlib import Path

import torch
from draw import NAMES
from safetensors.torch import load_file, save_file
from torch import nn

from edgekit.architectures.yolov9 import YOLOv9
from edgekit.architectures.yolov9_topology import recognise

SIDE, REG_MAX, DEPTH = 320, 8, 1
STEM, STAGES, NECK = (16, 24), (24, 40, 56, 80), (56, 40, 56, 80)
Shape = dict[str, tuple[int, ...]]


def gelan_shapes(classes: int) -> Shape:
    """Tensor shapes, by canonical name, of a GELAN with the widths above."""
    shapes: Shape = {}

    def conv(name: str, c_in: int, c_out: int, k: int = 1, groups: int = 1) -> None:
        shapes[f"{name}.conv.weight"] = (c_out, c_in // groups, k, k)
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{part}"] = (c_out,)

    def bare(name: str, c_in: int, c_out: int, groups: int = 1) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (c_out, c_in // groups, 1, 1), (c_out,)

    def elan(name: str, c_in: int, c_out: int) -> None:
        half = c_out // 2
        conv(f"{name}.cv1", c_in, c_out)
        for stage in ("cv2", "cv3"):
            csp = f"{name}.{stage}.0"
            conv(f"{csp}.cv1", half, half // 2)
            conv(f"{csp}.cv2", half, half // 2)
            conv(f"{csp}.cv3", half, half)
            for i in range(DEPTH):
                conv(f"{csp}.m.{i}.cv1.conv1", half // 2, half // 2, 3)
                conv(f"{csp}.m.{i}.cv1.conv2", half // 2, half // 2, 1)
                conv(f"{csp}.m.{i}.cv2", half // 2, half // 2, 3)
            conv(f"{name}.{stage}.1", half, half, 3)
        conv(f"{name}.cv4", 2 * c_out, c_out)

    conv("0", 3, STEM[0], 3)
    conv("1", STEM[0], STEM[1], 3)
    conv("2.cv1", STEM[1], STAGES[0])
    conv("2.cv2", STAGES[0] // 2, STAGES[0] // 2, 3)
    conv("2.cv3", STAGES[0] // 2, STAGES[0] // 2, 3)
    conv("2.cv4", 2 * STAGES[0], STAGES[0])
    for i, (before, width) in enumerate(pairwise(STAGES)):
        conv(f"{3 + 2 * i}.cv1", before, width, 3)
        elan(f"{4 + 2 * i}", width, width)
    p3, p4, p5 = STAGES[1:]
    conv("9.cv1", p5, p5 // 2)
    conv("9.cv5", 2 * p5, p5)
    elan("12", p5 + p4, NECK[0])
    elan("15", NECK[0] + p3, NECK[1])
    conv("16.cv1", NECK[1], NECK[0] // 2, 3)
    elan("18", NECK[0] // 2 + NECK[0], NECK[2])
    conv("19.cv1", NECK[2], p5 // 2, 3)
    elan("21", p5 // 2 + p5, NECK[3])
    box, score = 4 * REG_MAX, NECK[1]
    for i, width in enumerate(NECK[1:]):
        conv(f"22.cv2.{i}.0", width, box, 3)
        conv(f"22.cv2.{i}.1", box, box, 3, groups=4)
        bare(f"22.cv2.{i}.2", box, box, groups=4)
        conv(f"22.cv3.{i}.0", width, score, 3)
        conv(f"22.cv3.{i}.1", score, score, 3)
        bare(f"22.cv3.{i}.2", score, classes)
    return shapes


def build() -> YOLOv9:
    shapes = gelan_shapes(len(NAMES))
    topology = recognise(shapes)
    assert topology is not None
    network = YOLOv9(topology, shapes)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    for box, score, stride in zip(network.main.box, network.main.cls, network.main.strides):
        nn.init.normal_(score[-1].weight, std=0.01)
        nn.init.normal_(box[-1].weight, std=0.01)
        nn.init.ones_(box[-1].bias)
        # about three objects an image, spread over the cells of this level
        nn.init.constant_(score[-1].bias, math.log(3 / len(NAMES) / (SIDE / stride) ** 2))
    return network.to(memory_format=torch.channels_last)


def save(network: YOLOv9, path: Path) -> None:
    state = {
        f"model.{k}": v.half().contiguous()
        for k, v in network.canonical_state().items()
        if not k.endswith("num_batches_tracked")
    }
    metadata = {
        "names": json.dumps(NAMES),
        "image_size": str(SIDE),
        "licence": "Apache-2.0",
        "trained_by": "samples/shapes/train.py",
    }
    partial = path.with_suffix(".partial")
    save_file(state, partial, metadata)
    partial.chmod(0o644)
    os.replace(partial, path)


def restore(path: Path) -> YOLOv9:
    network = build()
    network.load({k.removeprefix("model."): v.float() for k, v in load_file(path).items()})
    return network
