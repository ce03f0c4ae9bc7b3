"""The anchor-free head of YOLOv9: class logits and a distribution over each box side.

Distribution focal boxes follow Generalized Focal Loss (arXiv 2006.04388): each side of a box is
the expectation of a softmax over `reg_max` bins, in strides, measured from the cell's centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from edgekit.architectures.blocks import Conv, Shapes


class DetectHead(nn.Module):
    """One branch pair (`box`, `cls`) for each level.

    `forward` gives raw predictions, one (B, 4·reg_max + C, H, W) for each level;
    `decode` gives boxes (B, N, 4) as x1 y1 x2 y2 in input pixels and scores (B, C, N).
    """

    def __init__(self, box: Sequence[nn.Module], cls: Sequence[nn.Module]) -> None:
        super().__init__()
        self.box, self.cls = nn.ModuleList(box), nn.ModuleList(cls)
        self.classes = _last_conv(self.cls[0]).out_channels
        self.reg_max = _last_conv(self.box[0]).out_channels // 4
        self.strides = [0] * len(self.box)  # set by the network, which knows its own geometry

    @classmethod
    def like(cls, shapes: Shapes, names: tuple[str, str], channels: Sequence[int], act: str) -> DetectHead:
        box, scores = (
            [_branch(shapes.under(f"{name}.{i}"), c, act)[0] for i, c in enumerate(channels)] for name in names
        )
        return cls(box, scores)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        pairs = zip(features, self.box, self.cls)
        return [torch.cat((box(x), score(x)), 1) for x, box, score in pairs]

    def decode(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        # Boxes and scores stay apart from the first to the last operation: a quantised tensor
        # has one scale, and no scale holds pixels up to 640 and probabilities up to 1.
        sides = torch.cat([box(x).flatten(2) for x, box in zip(features, self.box)], 2)
        logits = torch.cat([cls(x).flatten(2) for x, cls in zip(features, self.cls)], 2)
        centres, scale = self._grid(features)
        batch, _, cells = sides.shape
        # Bins last: the softmax then reads memory in order (a tenth of the network's time).
        bins = sides.view(batch, 4, self.reg_max, cells).transpose(2, 3).softmax(3)
        steps = torch.arange(self.reg_max, dtype=sides.dtype, device=sides.device)
        distance = bins @ steps
        low, high = distance.chunk(2, 1)
        corners = torch.cat((centres - low, centres + high), 1) * scale
        return corners.transpose(1, 2), logits.sigmoid()

    def _grid(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        centres, scales = [], []
        for x, stride in zip(features, self.strides):
            height, width = x.shape[2:]
            ys = torch.arange(height, dtype=x.dtype, device=x.device) + 0.5
            xs = torch.arange(width, dtype=x.dtype, device=x.device) + 0.5
            grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
            centres.append(torch.stack((grid_x.flatten(), grid_y.flatten())))
            scales.append(torch.full((height * width,), float(stride), device=x.device))
        return torch.cat(centres, 1), torch.cat(scales)


def _branch(shapes: Shapes, c_in: int, act: str) -> tuple[nn.Module, int]:
    """A head branch of any depth and nesting: Conv blocks, then one bare convolution."""
    if "conv.weight" in shapes:
        conv = Conv.like(shapes, c_in, act)
        return conv, conv.out_channels
    weight = shapes.get("weight")
    if weight is not None:
        bare = nn.Conv2d(
            c_in, weight[0], weight[2], padding=weight[2] // 2, groups=c_in // weight[1], bias="bias" in shapes
        )
        return bare, weight[0]
    layers = []
    for name in shapes.children():
        layer, c_in = _branch(shapes.under(name), c_in, act)
        layers.append(layer)
    return nn.Sequential(*layers), c_in


def _last_conv(branch: nn.Module) -> nn.Conv2d:
    return [m for m in branch.modules() if isinstance(m, nn.Conv2d)][-1]
