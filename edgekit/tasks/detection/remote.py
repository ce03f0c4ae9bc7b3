"""Run a package's artefact on a device, over the images that it is compared on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from edgekit.devices.base import Device
from edgekit.errors import IntegrityError
from edgekit.package import Package
from edgekit.runtime import Detector
from edgekit.runtime.engine import Array
from edgekit.spec import DetectionSpec
from edgekit.tasks.detection.evidence import Images, Run


class _Replay:
    """A session that first gathers inputs, then gives the outputs that came back for them."""

    threads, simulator = 0, ""

    def __init__(self, spec: DetectionSpec) -> None:
        self._spec = spec
        self._input = np.zeros(spec.input.shape, spec.input.dtype)
        self.gathered: list[Array] = []
        self.outputs: list[dict[str, Array]] = []

    def input(self, name: str) -> Array:
        return self._input

    def run(self, inputs: Mapping[str, Array] | None = None) -> dict[str, Array]:
        if self.outputs:
            return self.outputs.pop(0)
        self.gathered.append(self._input.copy())
        return {o.name: np.zeros(o.shape, o.dtype) for o in self._spec.outputs}

    def close(self) -> None:
        pass


def run_on(device: Device, package: Package, images: Images) -> Run:
    """Detections and outputs of the artefact on `device`.

    Raises what the device raises, and IntegrityError when its outputs are not the package's.
    """
    spec = package.manifest.model_as(DetectionSpec)
    replay = _Replay(spec)
    with Detector(spec, replay) as detector:
        for index in range(len(images)):
            detector.prepare(images[index])
            replay.run()
    outputs = device.outputs(package.folder, [{spec.input.name: array} for array in replay.gathered])
    _check(spec, outputs, len(images), device.name)
    replay.outputs = outputs
    with Detector(_as_given(spec, outputs[0]), replay) as detector:
        return images.run(detector, f"comparing with {device.name}")


def _as_given(spec: DetectionSpec, outputs: Mapping[str, Array]) -> DetectionSpec:
    """AI Hub gives real numbers where the artefact gives integers."""
    return dataclasses.replace(
        spec,
        outputs=tuple(
            dataclasses.replace(o, dtype="float32", scale=None, zero_point=0)
            if outputs[o.name].dtype.kind == "f"
            else o
            for o in spec.outputs
        ),
    )


def _check(spec: DetectionSpec, rows: Sequence[Mapping[str, Array]], count: int, device: str) -> None:
    for o in spec.outputs:
        shapes = {tuple(row[o.name].shape) if o.name in row else None for row in rows}
        fits = all(
            s is not None and len(s) == len(o.shape) and all(b in (-1, a) for a, b in zip(s, o.shape)) for s in shapes
        )
        if len(rows) != count or not fits:
            shown = sorted(map(str, shapes))[0] if rows else "nothing"
            raise IntegrityError(
                f"The device {device} gave {o.name} {shown} for {len(rows)} images, not {tuple(o.shape)} for {count}",
                f"its outputs are {', '.join(rows[0]) if rows else 'none'}",
                "convert again",
            )
