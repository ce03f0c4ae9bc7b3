"""Run a package's artefact on a device of AI Hub, over the images that it is compared on."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.aihub.artefacts import upload
from edgekit.aihub.hub import Done, Hub, Request
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


def run_on(hub: Hub, package: Package, images: Images, device: str, chip: str = "") -> tuple[Run, Done]:
    """Detections and outputs of the artefact on `device`, and the job that made them.

    Raises RemoteError when the job fails, IntegrityError when its outputs are not the package's.
    """
    spec = package.manifest.model_as(DetectionSpec)
    replay = _Replay(spec)
    with Detector(spec, replay) as detector:
        for index in range(len(images)):
            detector.prepare(images[index])
            replay.run()
    # one sample a row; the batch axis of each is that of the model
    data = {spec.input.name: np.stack(replay.gathered)}
    dataset = hub.dataset(data, f"{package.manifest.name}-images")
    job = hub.job(Request("inference", package.manifest.name, (upload(hub, package, chip),), device, "", dataset))
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        outputs = hub.outputs(job, Path(folder))
    _check(package, outputs, len(images))
    replay.outputs = [{n: outputs[n][i] for n in outputs} for i in range(len(images))]
    with Detector(_as_given(spec, outputs), replay) as detector:
        return images.run(detector, f"comparing with {device}"), job


def _as_given(spec: DetectionSpec, outputs: Mapping[str, Any]) -> DetectionSpec:
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


def _check(package: Package, outputs: Mapping[str, Any], count: int) -> None:
    for o in package.manifest.model_as(DetectionSpec).outputs:
        array = outputs.get(o.name)
        if array is None or array.shape != (count, *o.shape):
            shape = None if array is None else list(array.shape)
            raise IntegrityError(
                f"AI Hub's device gave {o.name} {shape}, not {[count, *o.shape]}",
                f"its outputs are {', '.join(outputs)}",
                "convert again",
            )
