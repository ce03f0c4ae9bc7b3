"""Checks for every package: its bytes, the library that opens it, and one image through both."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import requires

from edgekit import registry
from edgekit.diagnosis.base import Check, State
from edgekit.diagnosis.installation import installed, requirements, split
from edgekit.errors import IntegrityError
from edgekit.package import EngineRequirement, Package
from edgekit.runtime.engine import Engine
from edgekit.runtime.opening import engine_named
from edgekit.runtime.ranges import within
from edgekit.system.distribution import install
from edgekit.system.documents import JsonObject
from edgekit.system.tether import tied

_PATIENCE = 1800  # seconds: a large network in a simulator, on a slow machine


def integrity(package: Package) -> Check:
    try:
        checked = package.verify()
    except IntegrityError as error:
        return damaged(error)
    files = len(package.manifest.files) + 2  # the manifest itself and the receipt
    return Check("package", State.OK, f"{files} files as packaged, {checked} bytes of artefacts")


def damaged(error: IntegrityError) -> Check:
    text = f"{error.what}: {error.why}" if error.why else error.what
    return Check("package", State.PROBLEM, text, error.next or "copy the package again")


def library(needed: EngineRequirement) -> Check:
    """Whether what opens the package is installed, in a version the manifest names."""
    if needed.name not in registry.names("engines"):
        return Check(
            "engine",
            State.PROBLEM,
            f"no engine {needed.name} in this edgekit",
            "install the extension that provides it, or convert for another target",
        )
    engine = engine_named(needed.name)
    if not engine.libraries:
        return Check("engine", State.UNKNOWN, f"{needed.name} comes from an extension that does not name its library")
    command = install(engine.extra)
    have = next(((n, v) for n in engine.libraries if (v := installed(n))), None)
    if have is None:
        return Check("engine", State.PROBLEM, f"{engine.libraries[0]} is not installed", command)
    name, release = have
    says = f"{name} {release}; the package takes {needed.versions or 'any'}"
    fits = within(release, needed.versions)
    if fits is None:
        return Check("engine", State.UNKNOWN, f"{says}, a kind of range not read here")
    if not fits:
        return Check("engine", State.PROBLEM, says, f"pip install '{name}{needed.versions}'")
    for other, allowed in needed.libraries.items():
        version = installed(other)
        says += f"; {other} {version or 'is not installed'}"
        if not version or within(version, allowed) is False:
            upgrade = install(engine.extra, upgrade=True)
            return Check("engine", State.PROBLEM, f"{says}; the package takes {allowed}", upgrade)
    return _together(says, needed, engine, command)


def _together(says: str, needed: EngineRequirement, engine: Engine[object], command: str) -> Check:
    """What each package allows may still be two that do not fit each other: a library is loaded into its companions,
    and asks for no less than some version of them."""
    asks = dict(split(r) for r in requires(engine.libraries[0]) or []) if engine.companions else {}
    for companion in engine.companions:
        version = installed(companion)
        if not version:
            return Check("engine", State.PROBLEM, f"{says}; {companion} is not installed", command)
        if companion not in needed.libraries:
            says += f"; {companion} {version}"
        if within(version, asks.get(companion, "")) is False:
            says += f", but {engine.libraries[0]} asks for {asks[companion]}"
            return Check("engine", State.PROBLEM, says, command)
    used = {*engine.libraries, *engine.companions, *needed.libraries}
    tested = {n: allowed for e in engine.extra.split(",") for n, allowed in requirements(e).items() if n in used}
    odd = [n for n, allowed in tested.items() if (v := installed(n)) and within(v, allowed) is False]
    if odd:
        pairs = ", ".join(f"{n} {tested[n]}" for n in odd)
        return Check(
            "engine", State.UNKNOWN, f"{says}; edgekit is tested with {pairs}", f"if it does not open: {command}"
        )
    return Check("engine", State.OK, says)


def trial(package: Package, simulate: bool) -> Check:
    """Open the package and run one image of noise. In a process of its own: native libraries crash,
    and the simulator writes to stdout."""
    command = [sys.executable, "-P", "-m", "edgekit.diagnosis.trial", str(package.path)]
    command += ["--simulate"] if simulate else []
    where = "in the simulator" if simulate else "here"
    again = f"run it on its own: {' '.join(['python', *command[1:]])}"
    try:
        ran = subprocess.run(
            tied(command), capture_output=True, text=True, timeout=_PATIENCE, encoding="utf-8", errors="replace"
        )
    except subprocess.TimeoutExpired:
        return Check("one image", State.UNKNOWN, f"not done {where} after {_PATIENCE} s", again)
    outcome = _last_object(ran.stdout)
    if not outcome:
        last = (ran.stderr.strip().splitlines() or [""])[-1][:200]
        return Check("one image", State.PROBLEM, f"the process died with code {ran.returncode} {last}".strip(), again)
    if "error" in outcome:
        return Check("one image", State.PROBLEM, f"{outcome['what']}: {outcome['why']}".rstrip(": "), outcome["next"])
    if not outcome["finite"]:
        return Check("one image", State.PROBLEM, f"ran {where}, and gave numbers that are not finite", "convert again")
    engine = f" ({outcome['simulator']})" if outcome["simulator"] else ""
    return Check("one image", State.OK, f"opened and ran {where}{engine}: {outcome['outputs']}")


def _last_object(output: str) -> JsonObject:
    """The trial's own line, among what native libraries print."""
    for line in reversed(output.splitlines()):
        try:
            data = json.loads(line)
        except ValueError:
            continue
        if isinstance(data, dict):
            return data
    return {}
