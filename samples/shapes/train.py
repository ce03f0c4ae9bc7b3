"""Trains the sample detector: a narrow GELAN on shapes that draw.py draws on the fly.

    python samples/shapes/train.py --steps 3000 --out samples/shapes/shapes.safetensors
    python samples/shapes/train.py --evaluate samples/shapes/eval

The losses are written from the papers: task-aligned assignment (TOOD, arXiv 2108.07755), complete
IoU (arXiv 1911.08287), distribution focal loss (Generalized Focal Loss, arXiv 2006.04388). There is
no flip among the augmentations: a mirrored `two` is a `five`, and fresh images never run out.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import json
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from draw import NAMES, draw
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.architectures.yolov9 import YOLOv9, flops
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
    for i, (before, width) in enumerate(zip(STAGES, STAGES[1:])):
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


def letterbox(image: np.ndarray, side: int) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Shrink to fit side×side, never enlarge, and centre on grey; also the scale and the offset."""
    height, width = image.shape[:2]
    scale = min(side / width, side / height, 1.0)
    w, h = round(width * scale), round(height * scale)
    left, top = (side - w) // 2, (side - h) // 2
    canvas = np.full((side, side, 3), 114, np.uint8)
    resized = image if scale == 1 else Image.fromarray(image).resize((w, h), Image.BILINEAR)
    canvas[top : top + h, left : left + w] = resized
    return canvas, scale, (left, top)


class Stream(torch.utils.data.IterableDataset):
    """Endless batches: uint8 (B, 3, S, S), boxes float32 (B, M, 4) xyxy, classes (B, M), -1: none."""

    def __init__(self, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng((self.seed, 77, worker.id if worker else 0))
        while True:
            side = int(rng.choice((224, 256, 288, 320)))
            boxes, classes = torch.zeros(self.batch, 12, 4), torch.full((self.batch, 12), -1)
            images = np.empty((self.batch, side, side, 3), np.uint8)
            for i in range(self.batch):
                zoom, flat = rng.choice((1.0, 1.0, 1.25)), rng.choice((1.0, 1.0, 0.75))
                width, height = int(side * zoom), int(side * zoom * flat)
                if rng.random() < 0.5:
                    width, height = height, width
                drawing = draw(rng, width, height, crowd=12)
                images[i], scale, offset = letterbox(drawing.image, side)
                xywh = drawing.boxes * scale
                count = len(xywh)
                xyxy = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1) + offset * 2
                boxes[i, :count] = torch.from_numpy(xyxy).float()
                classes[i, :count] = torch.from_numpy(drawing.classes)
            yield torch.from_numpy(images).permute(0, 3, 1, 2), boxes, classes


def ciou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and complete IoU of boxes (…, 4) xyxy."""
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(0)
    shared_area = shared.prod(-1)
    iou = shared_area / (size_a.prod(-1) + size_b.prod(-1) - shared_area + 1e-7)
    hull = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    apart = ((a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:]) ** 2).sum(-1) / 4
    angle_a, angle_b = (torch.atan(s[..., 0] / (s[..., 1] + 1e-7)) for s in (size_a, size_b))
    aspect = 4 / math.pi**2 * (angle_b - angle_a) ** 2
    weight = (aspect / (1 - iou + aspect + 1e-7)).detach()
    return iou, iou - apart / ((hull**2).sum(-1) + 1e-7) - weight * aspect


@torch.no_grad()
def assign(
    scores: Tensor, boxes: Tensor, centres: Tensor, truth: Tensor, classes: Tensor, top: int = 10
) -> tuple[Tensor, Tensor]:
    """Which object each cell answers for: indices (B, N), and how well, 0..1 (B, N), 0: none.

    Scores (B, N, C), boxes (B, N, 4) and centres (N, 2) are pixels; truth (B, M, 4), classes (B, M).
    """
    real = classes >= 0
    iou = ciou(truth[:, :, None], boxes[:, None])[0]  # (B, M, N)
    score = scores.transpose(1, 2).gather(1, classes.clamp(0)[..., None].expand_as(iou))
    # Cells inside the box; a box smaller than a cell counts as large as one, so that it has some.
    middle, reach = (truth[..., :2] + truth[..., 2:]) / 2, (truth[..., 2:] - truth[..., :2]) / 2
    away = (centres - middle[:, :, None]).abs()
    inside = (away < reach.clamp(min=5)[:, :, None]).all(-1) & real[..., None]
    align = score.sqrt() * iou**6 * inside + 1e-9 * inside
    best = align.topk(top, 2)
    chosen = torch.zeros_like(align).scatter_(2, best.indices, 1.0) * inside
    # A cell that several objects chose goes to the one it overlaps most.
    owner = (chosen * (iou + 1e-6)).argmax(1)
    chosen = chosen * (torch.arange(align.shape[1])[:, None] == owner[:, None])
    align = align * chosen
    quality = align / (align.amax(2, keepdim=True) + 1e-9) * (iou * chosen).amax(2, keepdim=True)
    return owner, quality.amax(1)


def loss_of(network: YOLOv9, image: Tensor, truth: Tensor, classes: Tensor) -> dict[str, Tensor]:
    head = network.main
    levels = network.raw(image)[0]
    flat = torch.cat([level.flatten(2) for level in levels], 2).float().transpose(1, 2)
    centres, strides = head._grid([level.float() for level in levels])
    centres, strides = centres.t(), strides[:, None]
    sides, logits = flat.split((4 * head.reg_max, head.classes), 2)
    bins = sides.reshape(*sides.shape[:2], 4, head.reg_max)
    steps = torch.arange(head.reg_max, dtype=torch.float32)
    low, high = (bins.softmax(3) @ steps).chunk(2, 2)
    boxes = torch.cat((centres - low, centres + high), 2) * strides

    owner, quality = assign(logits.detach().sigmoid(), boxes.detach(), centres * strides, truth, classes)
    total = quality.sum().clamp(min=1)
    batch, cell = quality.nonzero(as_tuple=True)
    mine, weight = owner[batch, cell], quality[batch, cell]
    target = torch.zeros_like(logits)
    target[batch, cell, classes[batch, mine]] = weight
    class_loss = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / total
    box = truth[batch, mine]
    box_loss = ((1 - ciou(boxes[batch, cell], box)[1]) * weight).sum() / total
    # Distribution focal loss: the two bins around the true distance share the probability.
    centre, stride = centres[cell], strides[cell]
    distance = torch.cat((centre - box[:, :2] / stride, box[:, 2:] / stride - centre), 1)
    distance = distance.clamp(0, head.reg_max - 1.01)
    left = distance.floor().long()
    share = distance - left
    log = bins[batch, cell].log_softmax(2)
    near, far = (log.gather(2, i[..., None])[..., 0] for i in (left, left + 1))
    focal_loss = -(((near * (1 - share) + far * share).mean(1)) * weight).sum() / total
    return {"class": 0.5 * class_loss, "box": 7.5 * box_loss, "dfl": 1.5 * focal_loss}


def save(network: YOLOv9, path: Path) -> None:
    state = {f"model.{k}": v.half().contiguous() for k, v in network.canonical_state().items()
             if not k.endswith("num_batches_tracked")}  # fmt: skip
    metadata = {"names": json.dumps(NAMES), "image_size": str(SIDE), "licence": "Apache-2.0",
                "trained_by": "samples/shapes/train.py"}  # fmt: skip
    partial = path.with_suffix(".partial")
    save_file(state, partial, metadata)
    os.replace(partial, path)


def restore(path: Path) -> YOLOv9:
    network = build()
    network.load({k.removeprefix("model."): v.float() for k, v in load_file(path).items()})
    return network


def train(options: argparse.Namespace) -> None:
    network = restore(options.out) if options.resume else build()
    average = copy.deepcopy(network).eval()
    decay = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))
    stream = torch.utils.data.DataLoader(Stream(options.batch, options.seed), batch_size=None, num_workers=1)
    size = sum(p.numel() for p in network.parameters())
    print(f"{size} parameters, {flops(network, SIDE) / 1e9:.2f} GFLOPs at {SIDE}", file=sys.stderr)
    start = saved = time.monotonic()
    seen: dict[str, float] = {}
    for step, (image, truth, classes) in enumerate(stream):
        spent = (time.monotonic() - start) / 60
        done = step / options.steps if options.steps else spent / options.minutes
        if done >= 1:
            break
        for group in optimizer.param_groups:
            cosine = 0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2
            group["lr"] = options.rate * cosine * min(1, (step + 1) / 100)
        pixels = image.float().div(255).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bfloat16):
            losses = loss_of(network, pixels, truth, classes)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        keep = 0.998 * (1 - math.exp(-step / 300))
        with torch.no_grad():
            for mean, value in zip(average.state_dict().values(), network.state_dict().values()):
                mean.lerp_(value, 1 - keep) if mean.is_floating_point() else mean.copy_(value)
        for name, value in losses.items():
            value = value.detach()
            seen[name] = 0.98 * seen.get(name, float(value)) + 0.02 * float(value)
        if step % 50 == 0:
            text = "  ".join(f"{k} {v:.3f}" for k, v in seen.items())
            print(f"{done:4.0%} step {step} {spent:5.1f} min  {text}", file=sys.stderr, flush=True)
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            save(average, options.out)
    save(average, options.out)


@torch.no_grad()
def detect(network: YOLOv9, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes xyxy in pixels of `image`, scores and classes; several classes may share a box."""
    canvas, scale, offset = letterbox(image, SIDE)
    boxes, scores = network(torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255)
    kind, cell = (scores[0] > 0.001).nonzero(as_tuple=True)
    score = scores[0, kind, cell]
    order = score.argsort(descending=True)[:3000]
    kind, score, box = kind[order], score[order], boxes[0, cell[order]]
    iou = ciou(box[:, None], box[None])[0] * (kind[:, None] == kind)
    keep = torch.ones(len(box), dtype=torch.bool)
    for i in range(len(box)):
        if keep[i]:
            keep[i + 1 :] &= iou[i, i + 1 :] <= 0.7
    chosen = keep.nonzero()[:300, 0]
    original = (box[chosen].numpy() - np.array(offset * 2)) / scale
    height, width = image.shape[:2]
    return original.clip(0, (width, height) * 2), score[chosen].numpy(), kind[chosen].numpy()


def evaluate(network: YOLOv9, folder: Path) -> dict[str, float]:
    from faster_coco_eval import COCO, COCOeval_faster

    network = network.deploy()
    coco = json.loads((folder / "instances.json").read_text())
    found = []
    for image in coco["images"]:
        pixels = np.asarray(Image.open(folder / "images" / image["file_name"]).convert("RGB"))
        for (x0, y0, x1, y1), score, kind in zip(*detect(network, pixels)):
            found.append({"image_id": image["id"], "category_id": int(kind) + 1, "score": float(score),
                          "bbox": [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]})  # fmt: skip
    truth = COCO(coco)
    with contextlib.redirect_stdout(io.StringIO()):
        result = COCOeval_faster(truth, truth.loadRes(found), iouType="bbox")
        result.run()
    return {"mAP50-95": round(float(result.stats[0]), 4), "mAP50": round(float(result.stats[1]), 4),
            "small": round(float(result.stats[3]), 4), "images": len(coco["images"])}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Train or evaluate the sample detector.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("shapes.safetensors"))
    parser.add_argument("--evaluate", type=Path, help="only measure --out on this COCO-style folder")
    parser.add_argument("--minutes", type=float, default=25.0, help="length of the training")
    parser.add_argument("--steps", type=int, default=0, help="length in steps, instead of minutes")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--resume", action="store_true", help="start from the weights in --out")
    parser.add_argument("--bfloat16", action="store_true", help="mixed precision, for CPUs with AMX")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.evaluate:
        print(json.dumps(evaluate(restore(options.out), options.evaluate)))
    else:
        train(options)


if __name__ == "__main__":
    main()
