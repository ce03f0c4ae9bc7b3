"""Starts the server in an interpreter that has `qai_hub` and, mostly, no edgekit.

    PYTHON -I .../edgekit/emulator --state DIR

The folder that holds edgekit may hold another environment's packages too, so it stays off the
path: edgekit becomes a package that is nothing but its folder.
"""

from __future__ import annotations

import sys
import types
from pathlib import Path

if "edgekit" not in sys.modules:
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != here]
    package = types.ModuleType("edgekit")
    package.__path__ = [str(here.parent)]
    sys.modules["edgekit"] = package

from edgekit.emulator.start import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
