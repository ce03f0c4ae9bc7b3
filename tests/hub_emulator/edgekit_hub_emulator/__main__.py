"""Starts the server in an interpreter that has `qai_hub` and, mostly, neither edgekit nor this package.

    PYTHON -I .../edgekit_hub_emulator --state DIR --edgekit-path FOLDER

The folders that hold the two packages may hold another environment's packages too, so they stay off the
path: each package is loaded from its place.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _load(package: Path) -> None:
    """Imports the package in a folder by the folder's name, unless it is imported already."""
    if package.name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(
        package.name, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    assert spec is not None and spec.loader is not None
    sys.modules[package.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[package.name])


def _edgekit() -> Path | None:
    """The folder of edgekit where `--edgekit-path` names the one above it."""
    words = sys.argv[1:]
    above = next((words[i + 1] for i, word in enumerate(words[:-1]) if word == "--edgekit-path"), "")
    return Path(above, "edgekit") if above else None


def main() -> int:
    sys.path[:] = [p for p in sys.path if Path(p).resolve() != _HERE]
    for package in filter(None, (_edgekit(), _HERE)):
        _load(package)
    from edgekit_hub_emulator.start import main

    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
