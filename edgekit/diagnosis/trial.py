"""Open a package, run one image of noise or write a token, print what came out as JSON on the last line.

python -P -m edgekit.diagnosis.trial PACKAGE [--simulate]
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from edgekit.errors import EdgekitError
from edgekit.package import Package
from edgekit.runtime import Detector, EngineOptions, load, open_session
from edgekit.runtime.room import bound_memory
from edgekit.spec import DetectionSpec, TextSpec


def main(path: str, simulate: bool) -> dict[str, Any]:
    package = Package(path)
    bound_memory(package)
    if isinstance(package.manifest.model, TextSpec):
        return _write(package, simulate)
    engine, spec = package.manifest.engine, package.manifest.model_as(DetectionSpec)
    files = {file: chip for chip, file in reversed(engine.chips.items())}
    told: dict[str, Any] = {"finite": True, "outputs": "", "simulator": ""}
    for chip in list(files.values()) if simulate else [""]:  # each chip has a context of its own
        image = np.random.default_rng(0).integers(0, 256, (spec.image.height, spec.image.width, 3), np.uint8)
        with Detector(spec, open_session(package, EngineOptions(None, simulate, chip))) as detector:
            detector(image)
            told["finite"] &= all(bool(np.isfinite(a).all()) for a in detector.outputs.values())
            told["simulator"] = detector.session.simulator
            shapes = (f"{n} {'×'.join(map(str, a.shape))}" for n, a in detector.outputs.items())
            told["outputs"] = ", ".join(shapes)
    return told


def _write(package: Package, simulate: bool) -> dict[str, Any]:
    with load(package, simulate=simulate) as llm:
        llm.session.start([llm.spec.bos or 0])
        logits = llm.session.logits()
        simulator = getattr(llm.session, "simulator", "")
    return {"finite": bool(np.isfinite(logits).all()), "outputs": f"{len(logits)} logits", "simulator": simulator}


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1], "--simulate" in sys.argv)))
    except EdgekitError as error:
        print(json.dumps(error.to_dict()))
        sys.exit(error.exit_code)
