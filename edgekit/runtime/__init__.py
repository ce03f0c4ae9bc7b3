"""The thin runtime: load a package on the device and use it.

    from edgekit.runtime import load
    detector = load("dist/yolov9-t-cpu-w8a8")
    for d in detector("bus.jpg"):
        print(d.label, d.score, d.box)

Needs numpy and the one engine that the package names. Image files also need OpenCV or Pillow;
arrays need neither.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points

from edgekit.errors import MissingError
from edgekit.package import Package
from edgekit.runtime.detector import Detection, Detector
from edgekit.runtime.engine import Engine, EngineOptions, Session

__all__ = ["Detection", "Detector", "EngineOptions", "Session", "load", "open_session"]


def load(
    path: str | os.PathLike[str] | Package, threads: int | None = None, simulate: bool = False
) -> Detector:
    """A detector from a package folder or `.edgepkg` file; every file is checked first.

    `threads`: for the engine; by default the free big cores this process may use.
    `simulate`: run what was compiled for a Snapdragon in Qualcomm's simulator, seconds an image.
    Raises IntegrityError for a changed package, MissingError when its engine is not installed,
    DeviceError when this machine lacks the processor it was compiled for.
    """
    package = path if isinstance(path, Package) else Package(path)
    for name in package.manifest.files:
        if name not in package.manifest.engine.artifacts:  # the engine reads those itself
            package.read(name)
    session = open_session(package, EngineOptions(threads, simulate))
    return Detector(package.manifest.model, session)


def open_session(package: Package, options: EngineOptions | None = None) -> Session:
    """The engine's bare session on a package: named arrays in, named arrays out."""
    name = package.manifest.engine.name
    for entry in entry_points(group="edgekit.engines", name=name):
        engine: Engine = entry.load()
        return engine.open(package, options or EngineOptions())
    raise MissingError(
        f"This package needs the engine {name}, which this edgekit does not have",
        "", "install the extension that provides it, or convert for another target",
    )  # fmt: skip
