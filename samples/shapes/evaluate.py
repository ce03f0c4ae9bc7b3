"""Measures the sample detector on a COCO-style folder, with the float network in PyTorch."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from network import SIDE
from PIL import Image
from torch import Tensor

from edgekit.architectures.yolov9 import YOLOv9


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


@torch.no_grad()
def detect(network: YOLOv9, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes xyxy in pixels of `image`, scores and classes; several classes may share a box."""
    canvas, scale, offset = letterbox(image, SIDE)
    boxes, scores = network(torch.from_numpy(canvas).permute(2, 0, 1)[None].float() / 255)
    kind, cell = (scores[0] > 0.001).nonzero(as_tuple=True)
    score = scores[0, kind, cell]
    order = score.argsort(descending=True)[:3000]
    kind, score, box = kind[order], score[order], boxes[0, cell[order]]
    iou = _overlap(box, box) * (kind[:, None] == kind)
    keep = torch.ones(len(box), dtype=torch.bool)
    for i in range(len(box)):
        if keep[i]:
            keep[i + 1 :] &= iou[i, i + 1 :] <= 0.7
    chosen = keep.nonzero()[:300, 0]
    original = (box[chosen].numpy() - np.array(offset * 2)) / scale
    height, width = image.shape[:2]
    return original.clip(0, (width, height) * 2), score[chosen].numpy(), kind[chosen].numpy()


def _overlap(a: Tensor, b: Tensor) -> Tensor:
    """IoU of each box of `a` with each of `b`, xyxy."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    shared = (torch.minimum(a[:, None, 2:], b[None, :, 2:]) - low).clamp(0).prod(2)
    area_a, area_b = (x[:, 2:].sub(x[:, :2]).prod(1) for x in (a, b))
    return shared / (area_a[:, None] + area_b - shared)


def evaluate(network: YOLOv9, folder: Path) -> dict[str, float]:
    network = network.deploy()
    coco = json.loads((folder / "instances.json").read_text(encoding="utf-8"))
    found = []
    for image in coco["images"]:
        pixels = np.asarray(Image.open(folder / "images" / image["file_name"]).convert("RGB"))
        for (x0, y0, x1, y1), score, kind in zip(*detect(network, pixels)):
            box = [float(v) for v in (x0, y0, x1 - x0, y1 - y0)]
            found.append({"image_id": image["id"], "category_id": int(kind) + 1, "score": float(score), "bbox": box})
    truth = COCO(coco)
    with contextlib.redirect_stdout(io.StringIO()):
        result = COCOeval_faster(truth, truth.loadRes(found), iouType="bbox")
        result.run()
    return {
        "mAP50-95": round(float(result.stats[0]), 4),
        "mAP50": round(float(result.stats[1]), 4),
        "small": round(float(result.stats[3]), 4),
        "images": len(coco["images"]),
    }
