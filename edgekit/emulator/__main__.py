"""Starts the server in an interpreter that has `qai_hub` and, mostly, no edgekit.

    PYTHON -I .../edgekit/emulator --state DIR

The folder that holds edgekit may hold another environment's packages too, so it stays off the
path: edgekit is loaded from its place.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if "edgekit" not in sys.modules:
    here = Path(__file__).resolve().parent
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != here]
    found = importlib.util.spec_from_file_location(
        "edgekit", here.parent / "__init__.py", submodule_search_locations=[str(here.parent)]
    )
    assert found is not None and found.loader is not None
    sys.modules["edgekit"] = importlib.util.module_from_spec(found)
    found.loader.exec_module(sys.modules["edgekit"])

from edgekit.emulator.start import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
