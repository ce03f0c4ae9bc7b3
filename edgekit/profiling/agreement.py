"""Whether a package gives on a device what it gives here: the same noise through the same graph on both sides.

Engines have other kernels for another processor, so outputs may differ in their last bits, and not in more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgekit import progress
from edgekit.devices.base import Device
from edgekit.devices.local import LocalDevice
from edgekit.errors import MissingError
from edgekit.package import Package
from edgekit.runtime.engine import Array
from edgekit.runtime.measuring import noise
from edgekit.spec import graph_of

TOLERANCE_DB = (
    15.0  # int8 whose roundings differ stays above, on noise too, where scores are small; a wrong kernel does not
)
EQUAL_DB = 200.0  # stands for equality to the last bit: JSON has no infinity


@dataclass(frozen=True)
class Agreement:
    """One output there against here. `snr_db`: 10 log10 of the sum of squares here over that of the differences;
    `worst`: the largest difference, in the output's unit; None where shapes differ or a number is none."""

    output: str
    snr_db: float
    worst: float | None

    @property
    def good(self) -> bool:
        return self.snr_db >= TOLERANCE_DB


def agreement(package: Package, device: Device) -> tuple[Agreement, ...]:
    """Of each output of the package's graph; of a language model its logits after one token. None where this machine
    lacks the engine. Raises what the device raises."""
    graph = graph_of(package.manifest.model)
    inputs = [{t.name: noise(t) for t in graph.inputs}] if graph else []
    try:
        here = LocalDevice().outputs(package.folder, inputs)
    except MissingError as error:
        progress.note(f"outputs on {device.name} are not compared with this machine's: {error.what}")
        return ()
    return compared(here[0], device.outputs(package.folder, inputs)[0])


def compared(here: Mapping[str, Array], there: Mapping[str, Array]) -> tuple[Agreement, ...]:
    return tuple(_one(name, array, there.get(name)) for name, array in here.items())


def _one(name: str, here: Array, there: Array | None) -> Agreement:
    if there is None or there.shape != here.shape:
        return Agreement(name, -EQUAL_DB, None)
    difference = here.astype(np.float64) - there.astype(np.float64)
    signal = float(np.square(here, dtype=np.float64).sum())
    error, worst = float(np.square(difference).sum()), float(np.abs(difference).max(initial=0.0))
    if math.isnan(error):
        return Agreement(name, -EQUAL_DB, None)
    if error == 0:
        return Agreement(name, EQUAL_DB, 0.0)
    return Agreement(name, 10 * math.log10(signal / error) if signal > 0 else -EQUAL_DB, worst)
