"""Source: YOLOv9 and GELAN checkpoints (.pt, .pth, .ckpt, .safetensors), without their trainer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgekit.errors import SourceError, UsageError
from edgekit.model import GraphModel, SourceInfo
from edgekit.runtime.engines.libraries import onnxruntime
from edgekit.sources import others
from edgekit.sources.base import SourceOptions
from edgekit.sources.files import existing_file, sha256
from edgekit.sources.labels import labels_in
from edgekit.spec import DetectionSpec, ImageSpec, TensorSpec


class YoloSource:
    name = "yolo"
    form = GraphModel.form
    task = "detection"

    def matches(self, path: str) -> bool:
        return Path(path).suffix.lower() in (".pt", ".pth", ".ckpt", ".safetensors")

    def files(self, path: str) -> list[Path]:
        others.check_whole(path)
        return [existing_file(path)]

    def read(self, path: str, options: SourceOptions, into: Path) -> GraphModel:
        import torch

        from edgekit.architectures.yolov9 import YOLOv9, flops
        from edgekit.sources import yolo_layouts
        from edgekit.sources.export import export

        file = existing_file(path)
        if options.decoder:
            raise UsageError(
                f"--decoder {options.decoder} means nothing for {file.name}",
                "edgekit builds this network and knows its outputs",
                "leave it out",
            )
        root, metadata = _tensors(file)
        checkpoint = yolo_layouts.understand(root, file)
        try:
            network = YOLOv9(checkpoint.topology, {k: v.shape for k, v in checkpoint.tensors.items()})
            network.load(checkpoint.tensors)
        except (KeyError, IndexError, RuntimeError, AssertionError) as error:
            raise yolo_layouts.unsupported(
                file, f"its tensors do not fit {checkpoint.topology.name}: {error}"
            ) from error
        network.eval()
        height, width = _size(options, metadata, network.main.strides, file.name)
        labels, notes = _labels(options, metadata, checkpoint.labels, network.main.classes)
        deployed = network.deploy()
        graph = export(deployed, (torch.zeros(1, 3, height, width),), file.name, ("boxes", "scores"))
        cells = graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value
        spec = DetectionSpec(
            input=TensorSpec(graph.graph.input[0].name, "float32", (1, 3, height, width), "NCHW"),
            outputs=(
                TensorSpec("boxes", "float32", (1, cells, 4), "BN4"),
                TensorSpec("scores", "float32", (1, len(labels), cells), "BCN"),
            ),
            image=dataclasses.replace(ImageSpec(height, width), **options.image),
            labels=labels,
            decoder="yolov9",
        )
        info = SourceInfo(
            kind=self.name,
            name=file.name,
            sha256=sha256(file),
            bytes=file.stat().st_size,
            licence=metadata.get("licence") or metadata.get("license") or checkpoint.licence,
            layout=f"{checkpoint.layout} ({checkpoint.topology.name})",
            parameters=sum(p.numel() for p in network.parameters()),
            flops=flops(network, height, width),
            parity=_parity(network, graph, height, width),
            notes=tuple(notes),
        )
        return GraphModel(file.stem, graph, spec, info)


def _tensors(file: Path) -> tuple[object, dict[str, str]]:
    from edgekit.sources.pickle_reader import read_checkpoint

    if file.suffix.lower() != ".safetensors":
        return read_checkpoint(file), {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), "pt") as archive:
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118 (not a dictionary)
            return tensors, dict(archive.metadata() or {})
    except SafetensorError as error:
        raise SourceError(
            f"{file.name} is not a safetensors file, or it is truncated", str(error), "download or copy it again"
        ) from error


def _size(options: SourceOptions, metadata: dict[str, str], strides: list[int], name: str) -> tuple[int, int]:
    own = metadata.get("image_size", "")
    side = int(own) if own.isdigit() else 640
    height, width = options.image_size or (side, side)
    step = max(strides)
    if height % step or width % step or min(height, width) < step:
        raise UsageError(
            f"{name} cannot run at {height}x{width}",
            f"its strides are {', '.join(map(str, strides))}, so both sides must be multiples of {step}",
            f"use --image-size {max(step, round(height / step) * step)}x{max(step, round(width / step) * step)}",
        )
    return height, width


def _labels(
    options: SourceOptions, metadata: dict[str, str], names: tuple[str, ...], classes: int
) -> tuple[tuple[str, ...], list[str]]:
    if options.labels:
        if len(options.labels) != classes:
            raise UsageError(
                f"{len(options.labels)} labels were given for {classes} classes",
                "",
                "pass one name for each class, in the order of training",
            )
        return options.labels, []
    names = names or labels_in(metadata)
    if len(names) == classes:
        return names, []
    why = "names no classes" if not names else f"names {len(names)} classes for {classes} outputs"
    note = f"the checkpoint {why}: labels are class_0, class_1, … (--labels FILE or --labels coco)"
    return tuple(f"class_{i}" for i in range(classes)), [note]


def _parity(network: object, graph: object, height: int, width: int) -> tuple[tuple[str, float], ...]:
    """Largest |training-form network in torch - exported graph in ONNX Runtime| on two probes."""
    import numpy as np

    ort = onnxruntime()
    import torch

    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])  # type: ignore[attr-defined]
    ramp = np.linspace(0, 1, width, dtype=np.float32) * np.linspace(0, 1, height, dtype=np.float32)[:, None]
    noise = np.random.default_rng(0).random((3, height, width), dtype=np.float32)
    worst = {"boxes": 0.0, "scores": 0.0}
    for image in (np.stack([ramp, 1 - ramp, ramp[::-1]]), noise):
        feed = np.ascontiguousarray(image[None])
        with torch.no_grad():
            expected = network(torch.from_numpy(feed))  # type: ignore[operator]
        actual = session.run(["boxes", "scores"], {session.get_inputs()[0].name: feed})
        for name, a, b in zip(worst, expected, actual):
            worst[name] = max(worst[name], float(np.abs(a.numpy() - b).max()))
    return tuple(worst.items())
