"""A package against its float original where it runs: the same images, on a device."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

from edgekit.conversion.reading import read_model
from edgekit.data.images import Dataset
from edgekit.devices.base import Device
from edgekit.errors import UsageError
from edgekit.model import as_graph
from edgekit.package import Package
from edgekit.package.receipt import Measurement, read_receipt
from edgekit.sources.base import SourceOptions
from edgekit.spec import DetectionSpec
from edgekit.tasks.detection import evidence
from edgekit.tasks.detection.evidence import Images
from edgekit.tasks.detection.remote import run_on


def compare_outputs(
    package: Package, source: str, dataset: Dataset | None, device: Device, record: bool = True
) -> list[Measurement]:
    """How far the package's outputs on `device` are from those of `source`, its float original, here.

    `dataset`: None takes images of noise. `record`: write the figures into the receipt, too.
    Raises UsageError when the package was not made from `source`.
    """
    manifest = package.manifest
    image = manifest.model_as(DetectionSpec).image
    options = SourceOptions((image.height, image.width), manifest.model_as(DetectionSpec).labels)
    model = as_graph(read_model(source, options, manifest.task), package.path.name)
    if model.source.sha256 != manifest.source.get("sha256"):
        raise UsageError(
            f"{manifest.name} was not made from {Path(source).name}",
            f"it was made from {manifest.source.get('name')}, sha256 {str(manifest.source.get('sha256'))[:16]}…",
            "pass that file as --source",
        )
    spec = dataclasses.replace(model.spec_as(DetectionSpec), image=image)  # resized and normalised as the package does
    images = Images(dataset, spec)
    with evidence.open_model(dataclasses.replace(model, spec=spec)) as detector:
        reference = images.run(detector, "running the float original")
    run, info = run_on(device, package, images), device.info()
    where = images.describe(len(reference.outputs))
    rows = [
        evidence.detection_error_measurement(reference, run, where),
        *evidence.parity_measurements(evidence.parity(reference, run), where),
        *evidence.accuracy_measurements(reference, run, images.describe()),
    ]
    command = shlex.join(
        ["edgekit", "profile", package.path.name, "-d", info.name, "--source", Path(source).name]
        + (["--images", dataset.folder.name] if dataset else [])
    )
    measurements = [
        dataclasses.replace(m, command=command)
        if m.name.startswith("float ")
        else dataclasses.replace(m, device=info.name, provenance=info.provenance, command=command)
        for m in rows
    ]
    if record and package.path.is_dir():
        receipt = read_receipt(package.receipt())
        package.replace_receipt(receipt.with_measurements(measurements).to_dict())
    return measurements
