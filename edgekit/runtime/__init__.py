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

import importlib
import os
from typing import TYPE_CHECKING, TypeVar, overload

from edgekit.errors import UsageError
from edgekit.package.folder import Package
from edgekit.runtime.engine import Engine, EngineOptions, Session
from edgekit.runtime.opening import open_session, open_text_session, runner_of
from edgekit.runtime.runner import Runner

if TYPE_CHECKING:
    from edgekit.runtime.detection.detector import Detection, Detector
    from edgekit.runtime.text.generator import Generation, LanguageModel
    from edgekit.runtime.text.session import TextSession

__all__ = [
    "Detection",
    "Detector",
    "Engine",
    "EngineOptions",
    "Generation",
    "LanguageModel",
    "Runner",
    "Session",
    "TextSession",
    "load",
    "load_text",
    "open_session",
    "open_text_session",
]

# Of one task each: a device imports those that its packages need.
_HOMES = {
    "Detection": "edgekit.runtime.detection.detector",
    "Detector": "edgekit.runtime.detection.detector",
    "Generation": "edgekit.runtime.text.generator",
    "LanguageModel": "edgekit.runtime.text.generator",
    "TextSession": "edgekit.runtime.text.session",
}

R = TypeVar("R", bound=Runner)
PackagePath = str | os.PathLike[str] | Package


@overload
def load(path: PackagePath, threads: int | None = None, simulate: bool = False, *, kind: type[R]) -> R: ...
@overload
def load(path: PackagePath, threads: int | None = None, simulate: bool = False) -> Detector | LanguageModel: ...
def load(
    path: PackagePath, threads: int | None = None, simulate: bool = False, *, kind: type[Runner] | None = None
) -> Runner:
    """The runner of a package folder or `.edgepkg` file: a Detector, a LanguageModel, or what an extension registers
    for its task. Every file is checked first.

    `threads`: for the engine; by default the big cores that this process may use.
    `simulate`: run what was compiled for a Snapdragon in Qualcomm's simulator, seconds an image.
    `kind`: the class that is expected, as `load(path, kind=Detector)`: what is returned is one.

    Raises IntegrityError for a changed package or a task that is not known here, UsageError for a package of another
    `kind`, MissingError when its engine is not installed or older than the package needs, DeviceError when this machine lacks the processor it was
    compiled for.
    """
    package = path if isinstance(path, Package) else Package(path)
    runner = runner_of(package)
    if kind is not None and not issubclass(runner, kind):
        manifest = package.manifest
        raise UsageError(f"{manifest.name} is no {kind.noun}", f"its task is {manifest.task}", manifest.model.verb)
    return runner.open(package, EngineOptions(threads, simulate))


def load_text(path: PackagePath, threads: int | None = None, simulate: bool = False) -> LanguageModel:
    """As `load(path, kind=LanguageModel)`: raises UsageError for a package that is no language model."""
    from edgekit.runtime.text.generator import LanguageModel

    return load(path, threads, simulate, kind=LanguageModel)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgekit.runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
