"""What takes long to make is made once for all processes that share a run of the suite."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from edgekit import settings


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """One for the whole run, however many processes it has."""
    base = factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def made_once(
    name: str, make: Callable[[Path], Mapping[str, Path]], factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What `make(folder)` leaves in `folder` and names. Whoever comes first makes it, and the others wait; each process
    has a copy of its own, so that none of them changes what another looks at."""
    done = shared_folder(factory) / "made" / name
    done.parent.mkdir(exist_ok=True)
    with done.with_suffix(".lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_dir():
            partial = Path(tempfile.mkdtemp(dir=done.parent))
            names = {n: str(p.relative_to(partial / "out")) for n, p in make(partial / "out").items()}
            (partial / "names.json").write_text(json.dumps(names), encoding="utf-8")
            partial.rename(done)
    own = shutil.copytree(done / "out", factory.mktemp(name) / "out", symlinks=True)
    return {n: own / p for n, p in json.loads((done / "names.json").read_text(encoding="utf-8")).items()}


def steps_without(kind: str, folder: Path) -> Path:
    """A cache of its own in `folder`, which knows all finished steps that this run's knows now, but for those of a kind."""
    return _known(folder, lambda name: not name.startswith(kind))


def sources_read(folder: Path) -> Path:
    """A cache of its own in `folder`, which knows all sources that this run has read, and nothing else."""
    return _known(folder, lambda name: name.startswith("model-"))


def _known(folder: Path, wanted: Callable[[str], bool]) -> Path:
    (folder / "steps").mkdir(parents=True)
    for step in (settings.cache_folder() / "steps").iterdir():
        if not step.name.startswith(".") and wanted(step.name):
            shutil.copytree(step, folder / "steps" / step.name, copy_function=os.link)
    return folder
