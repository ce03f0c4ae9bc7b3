"""The building blocks of GELAN, in their training form, sized by the tensors they will hold.

Written from the YOLOv9 paper (arXiv 2402.13616: GELAN, section 4.2; PGI, section 4.1), RepVGG
(arXiv 2101.03697: re-parameterisation), CBNet (arXiv 2107.00420: CBLinear/CBFuse) and
Generalized Focal Loss (arXiv 2006.04388: distribution focal boxes).

Each block has a `like(shapes, c_in, …)` constructor: widths, depths and groups are read off the
tensor shapes, so that a checkpoint with unusual widths builds without a table of sizes.
Every block maps float32 (B, C, H, W) to float32 (B, C', H', W').
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "SiLU": nn.SiLU,
    "ReLU": nn.ReLU,
    "LeakyReLU": nn.LeakyReLU,
    "Hardswish": nn.Hardswish,
    "Mish": nn.Mish,
    "GELU": nn.GELU,
    "Identity": nn.Identity,
}


def activation(name: str) -> nn.Module:
    """By class name, with its one argument where it has one: `LeakyReLU(0.1)`."""
    kind, _, argument = name.partition("(")
    return ACTIVATIONS[kind](*([float(argument.rstrip(")"))] if argument else []))


class Shapes:
    """The shapes of the tensors below one prefix of a checkpoint."""

    def __init__(self, shapes: Mapping[str, Sequence[int]], prefix: str = "") -> None:
        self._all, self._prefix = shapes, prefix

    def under(self, name: str) -> Shapes:
        return Shapes(self._all, f"{self._prefix}{name}.")

    def get(self, name: str) -> tuple[int, ...] | None:
        shape = self._all.get(self._prefix + name)
        return None if shape is None else tuple(shape)

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return tuple(self._all[self._prefix + name])

    def __contains__(self, name: str) -> bool:
        return self._prefix + name in self._all

    def children(self) -> list[str]:
        """Names one level below the prefix, in numeric order where they are numbers."""
        start = len(self._prefix)
        names = {k[start:].split(".")[0] for k in self._all if k.startswith(self._prefix)}
        return sorted(names, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))


class Conv(nn.Module):
    """Convolution, batch norm, activation. Without batch norm when the checkpoint folded it."""

    def __init__(
        self, c_in: int, c_out: int, k: int = 1, s: int = 1, g: int = 1, act: str = "SiLU", bn: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, k, s, k // 2, groups=g, bias=not bn)
        if bn:
            # eps as in all three code bases that publish YOLOv9 weights
            self.bn = nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.03)
        self.act = activation(act)

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str, stride: int = 1) -> Conv:
        c_out, c_group, k, _ = shapes["conv.weight"]
        return cls(c_in, c_out, k, stride, c_in // c_group, act, bn="bn.weight" in shapes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.act(self.bn(x) if hasattr(self, "bn") else x)

    @property
    def out_channels(self) -> int:
        return self.conv.out_channels


class RepConv(nn.Module):
    """3×3 plus 1×1 (plus identity) branches in training; one 3×3 convolution after `merge`."""

    def __init__(self, conv1: Conv, conv2: Conv, act: str, identity: bool = False) -> None:
        super().__init__()
        self.conv1, self.conv2, self.act = conv1, conv2, activation(act)
        if identity:
            self.bn = nn.BatchNorm2d(conv1.out_channels, eps=1e-3, momentum=0.03)

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> RepConv | Conv:
        if "conv.weight" in shapes:  # merged by whoever saved the checkpoint
            return Conv.like(shapes, c_in, act)
        one = Conv.like(shapes.under("conv1"), c_in, "Identity")
        two = Conv.like(shapes.under("conv2"), c_in, "Identity")
        return cls(one, two, act, identity="bn.weight" in shapes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x) + self.conv2(x)
        return self.act(y + self.bn(x) if hasattr(self, "bn") else y)


class Bottleneck(nn.Module):
    """RepConv then Conv, with a shortcut where the widths allow one."""

    def __init__(self, cv1: nn.Module, cv2: Conv, shortcut: bool) -> None:
        super().__init__()
        self.cv1, self.cv2, self.shortcut = cv1, cv2, shortcut

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> Bottleneck:
        cv1 = RepConv.like(shapes.under("cv1"), c_in, act)
        hidden = (cv1.conv1 if isinstance(cv1, RepConv) else cv1).out_channels
        cv2 = Conv.like(shapes.under("cv2"), hidden, act)
        return cls(cv1, cv2, shortcut=c_in == cv2.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class RepCSP(nn.Module):
    """Cross-stage partial block: half the channels pass through the bottlenecks `m`."""

    def __init__(self, cv1: Conv, cv2: Conv, cv3: Conv, m: Sequence[Bottleneck]) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3, self.m = cv1, cv2, cv3, nn.Sequential(*m)

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> RepCSP:
        cv1 = Conv.like(shapes.under("cv1"), c_in, act)
        cv2 = Conv.like(shapes.under("cv2"), c_in, act)
        inner = shapes.under("m")
        m = [Bottleneck.like(inner.under(i), cv1.out_channels, act) for i in inner.children()]
        cv3 = Conv.like(shapes.under("cv3"), cv1.out_channels + cv2.out_channels, act)
        return cls(cv1, cv2, cv3, m)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class ELAN(nn.Module):
    """Split in two, run the second half through two stages, aggregate all four tensors.

    The stages are plain convolutions (ELAN) or RepCSP + convolution (the "generalised" ELAN).
    """

    def __init__(self, cv1: Conv, cv2: nn.Module, cv3: nn.Module, cv4: Conv) -> None:
        super().__init__()
        self.cv1, self.cv2, self.cv3, self.cv4 = cv1, cv2, cv3, cv4

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> ELAN:
        cv1 = Conv.like(shapes.under("cv1"), c_in, act)
        half = cv1.out_channels // 2
        cv2, c2 = cls._stage(shapes.under("cv2"), half, act)
        cv3, c3 = cls._stage(shapes.under("cv3"), c2, act)
        cv4 = Conv.like(shapes.under("cv4"), 2 * half + c2 + c3, act)
        return cls(cv1, cv2, cv3, cv4)

    @staticmethod
    def _stage(shapes: Shapes, c_in: int, act: str) -> tuple[nn.Module, int]:
        if "conv.weight" in shapes:
            conv = Conv.like(shapes, c_in, act)
            return conv, conv.out_channels
        csp = RepCSP.like(shapes.under("0"), c_in, act)
        conv = Conv.like(shapes.under("1"), csp.cv3.out_channels, act)
        return nn.Sequential(csp, conv), conv.out_channels

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.cv1(x).chunk(2, 1)
        third = self.cv2(second)
        return self.cv4(torch.cat((first, second, third, self.cv3(third)), 1))


class AConv(nn.Module):
    """Downsampling by two: 2×2 average, then a strided 3×3 convolution."""

    def __init__(self, cv1: Conv) -> None:
        super().__init__()
        self.cv1 = cv1

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> AConv:
        return cls(Conv.like(shapes.under("cv1"), c_in, act, stride=2))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv1(F.avg_pool2d(x, 2, 1))


class ADown(nn.Module):
    """Downsampling by two: after a 2×2 average, half the channels by convolution, half by max."""

    def __init__(self, cv1: Conv, cv2: Conv) -> None:
        super().__init__()
        self.cv1, self.cv2 = cv1, cv2

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> ADown:
        cv1 = Conv.like(shapes.under("cv1"), c_in // 2, act, stride=2)
        return cls(cv1, Conv.like(shapes.under("cv2"), c_in // 2, act))

    def forward(self, x: Tensor) -> Tensor:
        first, second = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return torch.cat((self.cv1(first), self.cv2(F.max_pool2d(second, 3, 2, 1))), 1)


class SPPELAN(nn.Module):
    """Spatial pyramid pooling inside ELAN: three chained 5×5 maxima, aggregated."""

    def __init__(self, cv1: Conv, cv5: Conv) -> None:
        super().__init__()
        self.cv1, self.cv5 = cv1, cv5

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, act: str) -> SPPELAN:
        cv1 = Conv.like(shapes.under("cv1"), c_in, act)
        return cls(cv1, Conv.like(shapes.under("cv5"), 4 * cv1.out_channels, act))

    def forward(self, x: Tensor) -> Tensor:
        y = [self.cv1(x)]
        for _ in range(3):
            y.append(F.max_pool2d(y[-1], 5, 1, 2))
        return self.cv5(torch.cat(y, 1))


class CBLinear(nn.Module):
    """A 1×1 convolution whose output is split into one tensor for each later fusion."""

    def __init__(self, conv: nn.Conv2d, splits: Sequence[int]) -> None:
        super().__init__()
        self.conv, self.splits = conv, list(splits)

    @classmethod
    def like(cls, shapes: Shapes, c_in: int, splits: Sequence[int]) -> CBLinear:
        c_out, c_group, k, _ = shapes["conv.weight"]
        return cls(nn.Conv2d(c_in, c_out, k, 1, k // 2, groups=c_in // c_group), splits)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.conv(x).split(self.splits, 1)


class CBFuse(nn.Module):
    """Add to the last input one split of each earlier input, resized to it (nearest)."""

    def __init__(self, picks: Sequence[int]) -> None:
        super().__init__()
        self.picks = list(picks)

    def forward(self, x: Sequence[tuple[Tensor, ...] | Tensor]) -> Tensor:
        target = x[-1]
        assert isinstance(target, Tensor)
        for pick, splits in zip(self.picks, x[:-1]):
            target = target + F.interpolate(splits[pick], size=target.shape[2:], mode="nearest")
        return target
