"""Trains the sample detector: a narrow GELAN on shapes that draw.py draws on the fly.

    python samples/shapes/train.py --steps 3600
    python samples/shapes/train.py --evaluate samples/shapes/eval

The losses are written from the papers: task-aligned assignment (TOOD, arXiv 2108.07755), complete
IoU (arXiv 1911.08287), distribution focal loss (Generalized Focal Loss, arXiv 2006.04388). There is
no flip among the augmentations: a mirrored `two` is a `five`, and fresh images never run out.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from draw import draw
from evaluate import evaluate, letterbox
from network import SIDE, build, restore, save
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from edgekit.architectures.yolov9 import YOLOv9, flops

Batch = tuple[Tensor, Tensor, Tensor]


def compress(image: np.ndarray, quality: int) -> np.ndarray:
    """Through JPEG and back. A network that never saw its artefacts loses 9 points of mAP to them."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


class Stream(torch.utils.data.IterableDataset[Batch]):
    """Endless batches: image uint8 (B, 3, S, S), boxes (B, M, 4) xyxy, classes (B, M), -1: none."""

    def __init__(self, batch: int, seed: int) -> None:
        self.batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[Batch]:
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
                photo = compress(drawing.image, int(rng.integers(75, 96)))
                images[i], scale, offset = letterbox(photo, side)
                xywh = drawing.boxes * scale
                xyxy = np.concatenate((xywh[:, :2], xywh[:, :2] + xywh[:, 2:]), 1) + offset * 2
                boxes[i, : len(xyxy)] = torch.from_numpy(xyxy)
                classes[i, : len(xyxy)] = torch.from_numpy(drawing.classes)
            yield torch.from_numpy(images).permute(0, 3, 1, 2), boxes, classes


def ciou(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and complete IoU of boxes (…, 4) xyxy."""
    size_a, size_b = a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2]
    shared = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    shared_area = shared.clamp(0).prod(-1)
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

    Scores (B, N, C), boxes (B, N, 4), centres (N, 2), truth (B, M, 4), classes (B, M); in pixels.
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


def cells_of(levels: list[Tensor], strides: list[int]) -> tuple[Tensor, Tensor]:
    """Centres (N, 2) of all cells, x y in units of their strides (N, 1)."""
    centres = [
        torch.cartesian_prod(torch.arange(h), torch.arange(w)).flip(1) + 0.5
        for h, w in (level.shape[2:] for level in levels)
    ]
    sizes = [torch.full((len(c), 1), float(s)) for c, s in zip(centres, strides)]
    return torch.cat(centres), torch.cat(sizes)


def loss_of(network: YOLOv9, image: Tensor, truth: Tensor, classes: Tensor) -> dict[str, Tensor]:
    head = network.main
    levels = network.raw(image)[0]
    flat = torch.cat([level.flatten(2) for level in levels], 2).float().transpose(1, 2)
    centres, strides = cells_of(levels, head.strides)
    sides, logits = flat.split((4 * head.reg_max, head.classes), 2)
    bins = sides.reshape(*sides.shape[:2], 4, head.reg_max)
    steps = torch.arange(head.reg_max, dtype=torch.float32)
    low, high = (bins.softmax(3) @ steps).chunk(2, 2)
    boxes = torch.cat((centres - low, centres + high), 2) * strides

    scores = logits.detach().sigmoid()
    owner, quality = assign(scores, boxes.detach(), centres * strides, truth, classes)
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


def train(options: argparse.Namespace) -> None:
    network = restore(options.out) if options.resume else build()
    average = copy.deepcopy(network).eval()
    decay = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=options.rate, betas=(0.9, 0.98))
    drawn = Stream(options.batch, options.seed)
    stream = torch.utils.data.DataLoader(drawn, batch_size=None, num_workers=1)
    size = sum(p.numel() for p in network.parameters())
    print(f"{size} parameters, {flops(network, SIDE, SIDE) / 1e9:.2f} GFLOPs at {SIDE}", file=sys.stderr)
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Train or evaluate the sample detector.")
    add = parser.add_argument
    add("--out", type=Path, default=Path(__file__).with_name("shapes.safetensors"))
    add("--evaluate", type=Path, help="only measure --out on this COCO folder")
    add("--minutes", type=float, default=25.0, help="length of the training")
    add("--steps", type=int, default=0, help="length in steps, instead of minutes")
    add("--batch", type=int, default=12)
    add("--rate", type=float, default=3e-3, help="highest learning rate")
    add("--threads", type=int, default=1)
    add("--seed", type=int, default=1)
    add("--resume", action="store_true", help="start from the weights in --out")
    add("--bfloat16", action="store_true", help="mixed precision, for CPUs with AMX")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.evaluate:
        print(json.dumps(evaluate(restore(options.out), options.evaluate)))
    else:
        train(options)


if __name__ == "__main__":
    main()
