"""Fold a network's training form into what inference needs: exact up to one float32 rounding.

Batch norm becomes part of the convolution before it; a RepConv's 3×3, 1×1 and identity branches
become one 3×3 convolution (RepVGG, arXiv 2101.03697, section 3.3).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgekit.architectures.blocks import Conv, RepConv


@torch.no_grad()
def merge(module: nn.Module) -> None:
    """Replace, in place and depth first, every RepConv and Conv by its folded equivalent."""
    for name, child in module.named_children():
        if isinstance(child, RepConv):
            setattr(module, name, _merged_rep(child))
        elif isinstance(child, Conv):
            setattr(module, name, _folded(child))
        else:
            merge(child)


def _folded(block: Conv) -> Conv:
    if not hasattr(block, "bn"):
        return block
    weight, bias = _fold(block.conv, block.bn)
    return _plain(block.conv, weight, bias, block.act)


def _merged_rep(block: RepConv) -> Conv:
    three, bias = _folded_pair(block.conv1)
    one, bias_one = _folded_pair(block.conv2)
    pad = (three.shape[2] - one.shape[2]) // 2
    three = three + nn.functional.pad(one, [pad] * 4)
    bias = bias + bias_one
    if hasattr(block, "bn"):
        conv = block.conv1.conv
        per_group = conv.in_channels // conv.groups
        identity = torch.zeros_like(three)
        for i in range(conv.out_channels):
            identity[i, i % per_group, three.shape[2] // 2, three.shape[3] // 2] = 1
        scale, shift = _scale_shift(block.bn)
        three, bias = three + identity * scale.view(-1, 1, 1, 1), bias + shift
    return _plain(block.conv1.conv, three, bias, block.act)


def _folded_pair(block: Conv) -> tuple[Tensor, Tensor]:
    if hasattr(block, "bn"):
        return _fold(block.conv, block.bn)
    assert block.conv.bias is not None
    return block.conv.weight.double(), block.conv.bias.double()


def _fold(conv: nn.Conv2d, bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    scale, shift = _scale_shift(bn)
    bias = shift if conv.bias is None else conv.bias.double() * scale + shift
    return conv.weight.double() * scale.view(-1, 1, 1, 1), bias


def _scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    # In float64, so that folding costs one rounding to float32 and no more.
    assert bn.running_mean is not None and bn.running_var is not None
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return scale, bn.bias.double() - bn.running_mean.double() * scale


def _plain(old: nn.Conv2d, weight: Tensor, bias: Tensor, act: nn.Module) -> Conv:
    block = Conv(old.in_channels, old.out_channels, old.kernel_size[0], old.stride[0], old.groups, "Identity", bn=False)
    assert block.conv.bias is not None
    block.conv.weight.copy_(weight.float())
    block.conv.bias.copy_(bias.float())
    block.act = act
    return block.eval()
