"""Open a package, run it on one input of noise, print what came out as JSON on the last line.

python -P -m edgekit.diagnosis.trial PACKAGE [--simulate]
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from edgekit.errors import EdgekitError
from edgekit.package import Package
from edgekit.runtime.engine import EngineOptions
from edgekit.runtime.opening import runner_of
from edgekit.runtime.room import bound_memory
from edgekit.system.documents import JsonObject


def main(path: str, simulate: bool) -> JsonObject:
    package = Package(path)
    bound_memory(package)
    runner = runner_of(package)
    files = {file: chip for chip, file in reversed(package.manifest.engine.chips.items())}
    outcome: dict[str, Any] = {"finite": True, "outputs": "", "simulator": ""}
    for chip in list(files.values()) if simulate else [""]:  # each chip has a context of its own
        with runner.open(package, EngineOptions(None, simulate, chip)) as model:
            outputs = model.probe()
            outcome["finite"] &= all(bool(np.isfinite(a).all()) for a in outputs.values())
            outcome["simulator"] = model.simulator
            outcome["outputs"] = ", ".join(f"{n} {'×'.join(map(str, a.shape))}" for n, a in outputs.items())
    return outcome


if __name__ == "__main__":
    try:
        print(json.dumps(main(sys.argv[1], "--simulate" in sys.argv)))
    except EdgekitError as error:
        print(json.dumps(error.to_dict()))
        sys.exit(error.exit_code)
