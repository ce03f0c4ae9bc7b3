"""The thin runtime: load a package on the device and use it.

    from edgekit.runtime import load
    detector = load("dist/yolov9-t-cpu-w8a8")
    for d in detector("bus.jpg"):
        print(d.label, d.score, d.box)

    llm = load("dist/smol-cpu-w4")
    print(llm.generate("Once upon a time"))

Needs numpy and the one engine that the package names. Image files also need OpenCV or Pillow;
arrays need neither.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points
from typing import Any

from edgekit.errors import MissingError, UsageError
from edgekit.package import Package
from edgekit.runtime.detection.detector import Detection, Detector
from edgekit.runtime.engine import Engine, EngineOptions, Session
from edgekit.runtime.text.generator import LanguageModel
from edgekit.runtime.text.tokens import Tokens
from edgekit.spec import DetectionSpec, TextSpec

__all__ = ["Detection", "Detector", "EngineOptions", "LanguageModel", "Session", "load", "load_text", "open_session"]


def load(path: str | os.PathLike[str] | Package, threads: int | None = None, simulate: bool = False) -> Any:
    """A Detector or a LanguageModel from a package folder or `.edgepkg` file; every file is checked
    first.

    `threads`: for the engine; by default the free big cores this process may use.
    `simulate`: run what was compiled for a Snapdragon in Qualcomm's simulator, seconds an image.
    Raises IntegrityError for a changed package, MissingError when its engine is not installed,
    DeviceError when this machine lacks the processor it was compiled for.
    """
    package = path if isinstance(path, Package) else Package(path)
    spec, options = package.manifest.model, EngineOptions(threads, simulate)
    if isinstance(spec, TextSpec):
        session = open_session(package, options)  # checks every file
        return LanguageModel(spec, session, Tokens(package.read(spec.vocabulary)))
    for name in package.manifest.files:
        if name not in package.manifest.engine.artifacts:  # the engine reads those itself
            package.read(name)
    return Detector(package.manifest.model_as(DetectionSpec), open_session(package, options))


def load_text(
    path: str | os.PathLike[str] | Package, threads: int | None = None, simulate: bool = False
) -> LanguageModel:
    """As `load`; raises UsageError for a package that is no language model, before it is opened."""
    package = path if isinstance(path, Package) else Package(path)
    _ = package.manifest.model_as(TextSpec)
    model: LanguageModel = load(package, threads, simulate)
    return model


def open_session(package: Package, options: EngineOptions | None = None) -> Any:
    """The engine's bare session on a package: named arrays in, named arrays out (`engine.Session`),
    or tokens in, logits out (`engines.genai.GenaiSession`)."""
    options = options or EngineOptions()
    if options.simulate and not package.manifest.engine.chips:
        raise UsageError(
            f"{package.path.name} is not for a Snapdragon",
            f"its engine {package.manifest.engine.name} runs it here",
            "leave the simulator out",
        )
    package.receipt()  # the one written for this manifest, else somebody changed either
    name = package.manifest.engine.name
    for entry in entry_points(group="edgekit.engines", name=name):
        engine: Engine = entry.load()
        return engine.open(package, options)
    raise MissingError(
        f"This package needs the engine {name}, which this edgekit does not have",
        "",
        "install the extension that provides it, or convert for another target",
    )
