"""Which engine opens a package, and which runner its task has: the two look-ups among what is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit import registry
from edgekit.errors import IntegrityError, MissingError, UsageError
from edgekit.package.folder import Package
from edgekit.runtime.engine import Engine, EngineOptions, Session
from edgekit.runtime.runner import Runner
from edgekit.system.distribution import install

if TYPE_CHECKING:
    from edgekit.runtime.text.session import TextSession


def engine_named(name: str) -> Engine[Any]:
    """The engine that manifests call `name`. Raises MissingError when there is none."""
    if name not in registry.names("engines"):
        raise MissingError(
            f"This package needs the engine {name}, which this edgekit does not have",
            "",
            "install the extension that provides it, or convert for another target",
        )
    engine: Engine[Any] = registry.load("engines", name)
    return engine


def runner_of(package: Package) -> type[Runner]:
    """The runner for a package's task. Raises IntegrityError when none is registered."""
    task = package.manifest.task
    if task not in registry.names("runners"):
        raise IntegrityError(
            f"{package.manifest.name} is for the task {task}, which this edgekit cannot run",
            f"it runs {', '.join(registry.names('runners'))}",
            f"install the extension that registers {task} in edgekit.runners, or {install(upgrade=True)}",
        )
    runner: type[Runner] = registry.find("runners", task)
    return runner


def open_session(package: Package, options: EngineOptions | None = None) -> Session:
    """The engine's bare session on a package's graph: named arrays in, named arrays out. Checks every file."""
    engine = _engine(package, options)
    for name in package.manifest.files.keys() - package.manifest.engine.artifacts:  # the engine reads those itself
        package.read(name)
    session: Session = engine.open(package, options or EngineOptions())
    return session


def open_text_session(package: Package, options: EngineOptions | None = None) -> TextSession:
    """The engine's bare session on a language model: tokens in, logits out. The engine checks every file."""
    session: TextSession = _engine(package, options).open(package, options or EngineOptions())
    return session


def _engine(package: Package, options: EngineOptions | None) -> Engine[Any]:
    if options and options.simulate and not package.manifest.engine.chips:
        raise UsageError(
            f"{package.path.name} is not for a Snapdragon",
            f"its engine {package.manifest.engine.name} runs it here",
            "leave the simulator out",
        )
    package.receipt()  # the one written for this manifest, else somebody changed either
    return engine_named(package.manifest.engine.name)
