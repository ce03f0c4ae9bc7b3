"""Recognise who saved a YOLO checkpoint, and give its tensors their canonical names.

Canonical names are `<layer>.<cv1…|m|conv|bn>…` as WongKinYiu/yolov9 and Ultralytics write them
below `model.`; MultimediaTechLab/YOLO spells the same parts in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from torch import Tensor

from edgekit.architectures.yolov9 import Head, Layer, Topology
from edgekit.architectures.yolov9_topology import kinds, recognise
from edgekit.errors import SourceError
from edgekit.sources.pickle_reader import Inert, class_name

_KINDS = {
    "Conv": "Conv",
    "ELAN1": "ELAN",
    "ELAN": "ELAN",
    "RepNCSPELAN4": "ELAN",
    "RepNCSPELAN": "ELAN",
    "AConv": "AConv",
    "ADown": "ADown",
    "SPPELAN": "SPPELAN",
    "CBLinear": "CBLinear",
    "CBFuse": "CBFuse",
    "Concat": "Concat",
    "Upsample": "Upsample",
    "Silence": "Identity",
    "Identity": "Identity",
}
_HEADS = {"Detect": 1, "DDetect": 1, "DualDetect": 2, "DualDDetect": 2, "TripleDetect": 3, "TripleDDetect": 3}
_PAIRS = (("cv2", "cv3"), ("cv4", "cv5"), ("cv6", "cv7"))
_EXPECTED: dict[str, dict[str, Any]] = {
    "BatchNorm2d": {"eps": 1e-3},
    "Upsample": {"scale_factor": 2.0, "mode": "nearest"},
    "Concat": {"d": 1},
    "MaxPool2d": {"kernel_size": 5, "stride": 1, "padding": 2},
    "RepNBottleneck": {"add": True},
    "RepBottleneck": {"add": True},
}


@dataclass
class YoloCheckpoint:
    """The tensors (canonical names, float32), wiring and names found in a checkpoint."""

    layout: str
    tensors: dict[str, Tensor]
    topology: Topology
    labels: tuple[str, ...] = ()
    licence: str = ""


def understand(root: object, path: Path) -> YoloCheckpoint:
    """From the unpickled root of a checkpoint, or a mapping of tensors. Raises SourceError."""
    try:
        return _understand(root, path)
    except SourceError:
        raise
    except Exception as error:  # attributes of a pickled object can be anything at all
        raise unsupported(path, f"its network cannot be followed: {error!r:.200}") from error


def _understand(root: object, path: Path) -> YoloCheckpoint:
    licence = str(root.get("license") or root.get("licence") or "") if isinstance(root, dict) else ""
    model = root
    if isinstance(root, dict) and not _is_state_dict(root):
        # As the trainers do: the averaged weights when there are some, else the model itself.
        keys = ("ema", "model", "state_dict", "model_state_dict")
        found_at = (root.get(k) for k in keys)
        model = next((v for v in found_at if isinstance(v, Inert) or _is_state_dict(v)), None)
    if isinstance(model, Inert):
        checkpoint = _from_module(model, path)
    elif _is_state_dict(model):
        checkpoint = _from_state_dict(model, path)
    else:
        raise SourceError(
            f"{path.name} holds no model that edgekit recognises",
            f"found {_describe(root)}, no tensors by name and no pickled network",
            "save the state dict or the whole model, or export to ONNX where it was trained",
        )
    checkpoint.licence = checkpoint.licence or licence
    return checkpoint


def _is_state_dict(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())


def _describe(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dictionary with {', '.join(map(str, list(value)[:6])) or 'nothing'}"
    return class_name(value) or type(value).__name__


def _from_state_dict(state: Mapping[str, object], path: Path) -> YoloCheckpoint:
    named = {str(k): v for k, v in state.items() if isinstance(v, Tensor)}
    prefix = _common_prefix(named)
    own = {k[len(prefix) :]: v for k, v in named.items() if k.startswith(prefix)}
    spelled_out = any(".anchor_conv." in k or ".heads." in k for k in own)
    tensors = {_canonical(k): v for k, v in own.items() if k[:1].isdigit()}
    shapes = {k: v.shape for k, v in tensors.items()}
    topology = recognise(shapes)
    if topology is None:
        foreign = [f"layer {i} is {k}" for i, k in kinds(shapes).items() if k.startswith("unknown")]
        raise unsupported(
            path,
            "its tensors fit none of the published YOLOv9 and GELAN networks" + "".join(f"; {f}" for f in foreign[:2]),
        )
    layout = "MultimediaTechLab/YOLO" if spelled_out else "WongKinYiu/yolov9 or Ultralytics"
    return YoloCheckpoint(f"{layout} state dict", _float(tensors, path), topology)


def _float(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    empty = [k for k, v in tensors.items() if v.numel() == 0]
    if empty:
        raise unsupported(path, f"{empty[0]} has no elements")
    return {k: v.float() for k, v in tensors.items()}


def _common_prefix(named: Mapping[str, Tensor]) -> str:
    """The most frequent prefix of layer numbers: `model.`, `module.model.`, `ema.` …"""
    counts: dict[str, int] = {}
    for name in named:
        match = re.match(r"((?:[A-Za-z_]\w*\.)*)\d+\.", name)
        if match:
            counts[match[1]] = counts.get(match[1], 0) + 1
    return max(counts, key=lambda p: (counts[p], p.startswith("ema")), default="")


def _canonical(name: str) -> str:
    name = re.sub(r"\.heads\.(\d+)\.anchor_conv\.", r".cv2.\1.", name)
    name = re.sub(r"\.heads\.(\d+)\.class_conv\.", r".cv3.\1.", name)
    name = re.sub(r"\.heads\.(\d+)\.anc2vec\.", r".dfl.\1.", name)
    name = name.replace(".bottleneck.", ".m.")
    name = re.sub(r"^(\d+)\.conv\.(conv|bn)\.", r"\1.cv1.\2.", name)  # its AConv
    # Blocks number their parts cv1, cv2 …; only the two branches of a RepConv are conv1, conv2.
    return re.sub(r"(?<!v\d\.)\bconv(\d)\.", r"cv\1.", name)


def _from_module(model: Inert, path: Path) -> YoloCheckpoint:
    model = _children(model).get("module", model)  # (Distributed)DataParallel
    sequence = _children(model).get("model", model)
    layers = {int(i): m for i, m in _children(sequence).items() if i.isdigit()}
    if not layers:
        raise unsupported(path, f"the pickled {class_name(model)} has no numbered layers")
    modules = {n: m for n, m in _walk(sequence) if n[0].isdigit()}
    tensors = {f"{n}.{k}": v for n, m in modules.items() for k, v in _own_tensors(m)}
    names = {class_name(m) for m in layers.values()}
    if "MultiheadDetection" in names:  # MultimediaTechLab/YOLO: wired by tags, not by numbers
        return _from_state_dict(tensors, path)
    unknown = names - _KINDS.keys() - _HEADS.keys()
    if unknown:
        raise unsupported(path, f"it is built from {', '.join(sorted(unknown))}")
    surprise = next(filter(None, map(_surprise, modules.values())), "")
    if surprise:
        raise unsupported(path, surprise)
    activations = {_activation(m) for n, m in modules.items() if n.endswith(".act")} - {"Identity"}
    if len(activations) > 1:
        raise unsupported(path, f"it mixes the activations {', '.join(sorted(activations))}")
    root = type(model).path.split(".")[0]
    owner = {"ultralytics": "Ultralytics", "models": "WongKinYiu/yolov9"}.get(root, root)
    labels = getattr(model, "names", ())
    labels = [labels[k] for k in sorted(labels)] if isinstance(labels, dict) else labels
    return YoloCheckpoint(
        f"{owner} pickled model",
        _float({_canonical(k): v for k, v in tensors.items()}, path),
        _topology(layers, f"{owner} {class_name(model)}", *activations),
        tuple(str(n) for n in labels),
    )


def _surprise(module: Inert) -> str:
    """The difference between a pickled module and what our blocks assume; "" where there is none.

    Tensors would load all the same, and the network would compute something else.
    """
    kind = class_name(module)
    for name, value in _EXPECTED.get(kind, {}).items():
        own = getattr(module, name, value)
        if own != value:
            return f"its {kind} has {name} {own!r:.40} instead of {value!r}"
    return ""


def _activation(module: Inert) -> str:
    kind = class_name(module)
    return f"LeakyReLU({float(module.negative_slope)})" if kind == "LeakyReLU" else kind  # type: ignore[attr-defined]


def _topology(layers: Mapping[int, Inert], name: str, activation: str = "SiLU") -> Topology:
    graph: dict[int, Layer] = {}
    heads: list[Head] = []
    for index, module in sorted(layers.items()):
        feeds = getattr(module, "f", -1)
        feeds = feeds if isinstance(feeds, (list, tuple)) else [feeds]
        sources = tuple(int(f) if f >= 0 else index + int(f) for f in feeds)
        kind = class_name(module)
        if kind in _HEADS:
            size = len(sources) // _HEADS[kind]
            for i in reversed(range(_HEADS[kind])):
                heads.append(Head(index, _PAIRS[i], sources[i * size : (i + 1) * size]))
            continue
        options: dict[str, Any] = {}
        if kind == "Conv":
            options["stride"] = int(getattr(_children(module)["conv"], "stride", (2,))[0])
        elif kind == "CBLinear":
            options["splits"] = list(getattr(module, "c2s", ()))
        elif kind == "CBFuse":
            options["picks"] = list(getattr(module, "idx", ()))
        graph[index] = Layer(_KINDS[kind], sources, options)
    return Topology(name, graph, tuple(heads), activation)


def _children(module: Inert) -> dict[str, Inert]:
    modules = getattr(module, "_modules", {})
    return {str(k): v for k, v in modules.items() if isinstance(v, Inert)}


def _walk(module: Inert) -> list[tuple[str, Inert]]:
    """All modules below, by name."""
    modules = list(_children(module).items())
    for name, here in modules:  # which grows meanwhile
        modules += [(f"{name}.{n}", child) for n, child in _children(here).items()]
        # A module may contain itself, or one module many times over, level after level.
        if len(modules) > 20_000 or len(name) > 200:
            raise SourceError("This checkpoint nests modules without end")
    return modules


def _own_tensors(module: Inert) -> Iterator[tuple[str, Tensor]]:
    for kind in ("_parameters", "_buffers"):
        for name, value in (getattr(module, kind, None) or {}).items():
            if isinstance(value, Tensor):
                yield name, value


def unsupported(path: Path, why: str) -> SourceError:
    return SourceError(
        f"{path.name} is a checkpoint of an architecture edgekit cannot build",
        why,
        "export it to ONNX where it was trained, and convert that file",
    )
