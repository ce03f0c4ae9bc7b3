"""Which layer feeds which in the published YOLOv9 and GELAN configurations.

A checkpoint that is only tensors does not say how its layers are wired. The kind of each layer
with tensors can be read off their names and shapes; layers without tensors (upsampling,
concatenation, fusion) and the wiring come from the published configurations of
WongKinYiu/yolov9, MultimediaTechLab/YOLO and Ultralytics, restated here. Widths, depths, groups
and the number of classes never appear: they are read off the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgekit.architectures.blocks import Shapes
from edgekit.architectures.yolov9 import Head, Layer, Topology

_UP, _CAT, _TENSORS = "Upsample", "Concat", "*"
_PAIRS = (("cv2", "cv3"), ("cv4", "cv5"), ("cv6", "cv7"))


class _Wiring:
    """Writes a wiring down, layer by layer. `*` stands for a layer with tensors of its own."""

    def __init__(self, name: str, silence: bool = False, activation: str = "SiLU") -> None:
        self.name, self.activation = name, activation
        self.rows: list[Layer] = []
        self.heads: list[Head] = []
        if silence:
            self.add("Identity", -1)

    def add(self, kind: str, *sources: int, **options: object) -> int:
        last = len(self.rows) - 1
        self.rows.append(Layer(kind, sources or (last,), options))
        return len(self.rows) - 1

    def chain(self, count: int, source: int | None = None) -> list[int]:
        """`count` layers with tensors, each fed by the one before."""
        first = self.add(_TENSORS, *(() if source is None else (source,)))
        return [first, *(self.add(_TENSORS) for _ in range(count - 1))]

    def top_down(self, p5: int, p4: int, p3: int) -> tuple[int, int, int]:
        """SPPELAN on P5, then up to P4 and P3. Returns the layers of P5, P4, P3."""
        n5 = self.add(_TENSORS, p5)
        n4 = self._join(p4)
        return n5, n4, self._join(p3)

    def _join(self, lateral: int) -> int:
        self.add(_UP)
        self.add(_CAT, len(self.rows) - 1, lateral)
        return self.add(_TENSORS)

    def bottom_up(self, n4: int, n5: int) -> tuple[int, int]:
        outputs = []
        for lateral in (n4, n5):
            self.add(_TENSORS)
            self.add(_CAT, len(self.rows) - 1, lateral)
            outputs.append(self.add(_TENSORS))
        return outputs[0], outputs[1]

    def detect(self, *levels: Sequence[int]) -> _Wiring:
        """One layer holding a branch pair for each group of levels; the last is the main one."""
        index = self.add("Detect", *(s for group in levels for s in group))
        own = [Head(index, pair, tuple(group)) for pair, group in zip(_PAIRS, levels)]
        self.heads.extend(reversed(own))
        return self

    def reversible_branch(self, taps: Sequence[int], stem: int, image: int) -> list[int]:
        """PGI's auxiliary branch: a second backbone fed by linear taps of the first."""
        linears = [self.add("CBLinear", tap) for tap in taps]
        self.chain(stem, image)
        outputs = []
        for i in range(len(linears)):
            down = self.add(_TENSORS)
            self.add("CBFuse", *linears[i:], down, picks=[i] * (len(linears) - i))
            outputs.append(self.add(_TENSORS))
        return outputs


def _gelan(name: str, silence: bool = False, activation: str = "SiLU") -> tuple[_Wiring, list[int], list[int]]:
    """Backbone, top-down and bottom-up paths shared by gelan-{t,s,m,c} and yolov9-{t,s,m,c}."""
    w = _Wiring(name, silence, activation)
    backbone = w.chain(9, None if silence else -1)
    n5, n4, n3 = w.top_down(backbone[8], backbone[6], backbone[4])
    d4, d5 = w.bottom_up(n4, n5)
    return w, backbone, [n3, d4, d5]


def _e_backbone(name: str) -> tuple[_Wiring, list[int], list[int]]:
    """The two coupled backbones of yolov9-e; returns P3, P4, P5 of each."""
    w = _Wiring(name, silence=True)
    first = w.chain(9)
    linears = [w.add("CBLinear", tap) for tap in (first[0], *first[2::2])]
    w.chain(1, 0)
    stages = []
    for i in range(5):
        count = len(linears) - i
        w.add("CBFuse", *linears[i:], len(w.rows) - 1, picks=[i] * count)
        if i:
            stages.append(w.add(_TENSORS))
        if i < 4:
            w.add(_TENSORS)
    return w, first[4::2], stages[1:]


def _published() -> list[_Wiring]:
    wirings = []
    for activation, name in (("SiLU", "gelan"), ("ReLU", "gelan-base")):
        w, _, levels = _gelan(name, activation=activation)
        wirings.append(w.detect(levels))

    w, backbone, levels = _gelan("yolov9-t/s")
    auxiliary = w.top_down(backbone[8], backbone[6], backbone[4])
    wirings.append(w.detect(auxiliary[::-1], levels))

    w, backbone, levels = _gelan("yolov9-t/s (MultimediaTechLab)")
    w.detect(levels)
    auxiliary = w.top_down(backbone[8], backbone[6], backbone[4])
    # That configuration lists the auxiliary levels as P5, P4, P3 → A3, A4, A5.
    wirings.append(w.detect(auxiliary[::-1]))

    for activation, name in (("SiLU", "yolov9-m/c"), ("ReLU", "yolov9-base")):
        w, backbone, levels = _gelan(name, silence=True, activation=activation)
        branch = w.reversible_branch((backbone[4], backbone[6], backbone[8]), 3, 0)
        wirings.append(w.detect(branch, levels))

    w, backbone, levels = _gelan("yolov9-cf", silence=True)
    branch = w.reversible_branch((backbone[4], backbone[6], backbone[8]), 3, 0)
    wirings.append(w.detect(branch, levels, levels))

    w, backbone, levels = _gelan("yolov9-m/c (MultimediaTechLab)")
    w.detect(levels)
    wirings.append(w.detect(w.reversible_branch((backbone[4], backbone[6], backbone[8]), 3, -1)))

    w, _, (p3, p4, p5) = _e_backbone("gelan-e")
    n5, n4, n3 = w.top_down(p5, p4, p3)
    wirings.append(w.detect([n3, *w.bottom_up(n4, n5)]))

    w, plain, (p3, p4, p5) = _e_backbone("yolov9-e")
    a5, a4, a3 = w.top_down(plain[2], plain[1], plain[0])
    n5, n4, n3 = w.top_down(p5, p4, p3)
    wirings.append(w.detect([a3, a4, a5], [n3, *w.bottom_up(n4, n5)]))
    return wirings


def kinds(shapes: Mapping[str, Sequence[int]]) -> dict[int, str]:
    """The kind of each layer that has tensors, read off their names (canonical) and shapes."""
    root = Shapes(shapes)
    return {int(i): _kind(root.under(i)) for i in root.children() if i.isdigit()}


def _kind(here: Shapes) -> str:
    parts = set(here.children())
    weight = here.get("conv.weight")
    if weight is not None:
        # A fused Conv and a CBLinear both are one biased convolution; only the latter is 1×1.
        linear = "bn" not in parts and "conv.bias" in here and weight[2] == 1
        return "CBLinear" if linear else "Conv"
    if {"cv2", "cv3"} <= parts and all(re.fullmatch(r"cv\d|dfl\d?", p) for p in parts):
        if "cv1" not in parts:
            return "Detect"
        if "cv4" in parts:
            return "ELAN"
    if parts == {"cv1", "cv5"}:
        return "SPPELAN"
    if parts == {"cv1", "cv2"}:
        return "ADown"
    if parts == {"cv1"}:
        return "AConv"
    return f"unknown ({', '.join(sorted(parts)[:6])})"


def recognise(shapes: Mapping[str, Sequence[int]]) -> Topology | None:
    """The published wiring that these tensors (canonical names) fit, or None.

    Layers that differ only in activation are told apart by their downsampling: only the two
    "base" configurations use a plain strided convolution there, with ReLU.
    """
    kinds_by_index = kinds(shapes)
    plain_down = kinds_by_index.get(3) == "Conv" or kinds_by_index.get(4) == "Conv"
    for wiring in _published():
        if ("base" in wiring.name) != plain_down or not _heads_fit(wiring, Shapes(shapes)):
            continue
        layers = _fit(wiring, kinds_by_index)
        if layers is not None:
            return Topology(wiring.name, layers, tuple(wiring.heads), wiring.activation)
    return None


def _heads_fit(wiring: _Wiring, root: Shapes) -> bool:
    """Whether the layers of heads hold these branches and no other: 2 or 3 may share a layer."""
    branches: dict[int, set[str]] = {}
    for head in wiring.heads:
        branches.setdefault(head.index, set()).update(head.branches)
    return all({p for p in root.under(str(i)).children() if p.startswith("cv")} == own for i, own in branches.items())


def _fit(wiring: _Wiring, kinds_by_index: Mapping[int, str]) -> dict[int, Layer] | None:
    layers = {}
    for index, row in enumerate(wiring.rows):
        kind = kinds_by_index.get(index)
        if row.kind == _TENSORS:
            if kind not in ("Conv", "ELAN", "AConv", "ADown", "SPPELAN"):
                return None
            layers[index] = Layer(kind, row.sources, row.options)
        elif row.kind in ("Detect", "CBLinear"):
            if kind != row.kind:
                return None
            if kind == "CBLinear":
                layers[index] = row
        elif kind is not None:
            return None
        else:
            layers[index] = row
    return layers if max(kinds_by_index, default=-1) < len(wiring.rows) else None
