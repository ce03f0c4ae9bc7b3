"""What a device needs to run packages, as one file: edgekit, numpy, click and an engine, for its Python and processor.

    python3 edgekit-runtime-cp311-aarch64.pyz FOLDER                   unpacks it there
    python3 edgekit-runtime-cp311-aarch64.pyz FOLDER -m MODULE ...     and runs a module of it

The file is a zip of wheels (PEP 427) that Python runs. Nothing is installed into the device's own Python, and the device
needs no network: the wheels are downloaded here, once, by pip.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

from edgekit import cache, progress
from edgekit.devices.own_wheel import EPOCH, own_wheel
from edgekit.errors import DeviceError, MissingError

_PATIENCE = 1800.0  # seconds for pip: an engine has some 20 MB
_OLDEST_GLIBC = {"x86_64": 5, "i686": 5}  # 2.x, of the first manylinux of each processor; 17 for all others


@dataclass(frozen=True)
class Machine:
    """What wheels must fit. `architecture`: as wheels name it. `libc`: "glibc 2.36" or "musl 1.2"."""

    architecture: str
    python: tuple[int, int]
    libc: str

    @property
    def tag(self) -> str:
        return f"cp{self.python[0]}{self.python[1]}-{self.architecture}"

    def platforms(self) -> list[str]:
        """Tags of wheels that run there (PEP 600, PEP 656). Raises DeviceError for a system that has none."""
        kind, _, number = self.libc.partition(" ")
        major, _, minor = number.partition(".")
        if kind not in ("glibc", "musl") or not major.isdecimal() or not minor.isdecimal():
            raise DeviceError(
                f"There are no wheels for a system with {self.libc or 'an unknown C library'}",
                "edgekit sends Linux wheels, for glibc and musl",
                "install edgekit there, and name its interpreter: python = PATH in devices.toml",
            )
        if kind == "musl":
            return [f"musllinux_1_{n}_{self.architecture}" for n in range(int(minor), -1, -1)]
        oldest = _OLDEST_GLIBC.get(self.architecture, 17)
        newest = [f"manylinux_2_{n}_{self.architecture}" for n in range(min(int(minor), 99), oldest - 1, -1)]
        return [*newest, f"manylinux2014_{self.architecture}", f"linux_{self.architecture}"]


def make_bundle(machine: Machine, extra: str) -> Path:
    """The bundle for a machine with the engine of `extra`, made once and kept with the results of conversions.

    Raises MissingError without pip or a network, DeviceError when an engine has no wheel for the machine.
    """
    name = f"edgekit-{extra.replace(',', '-') or 'bare'}-{machine.tag}.pyz"
    wheel, content = own_wheel()
    parts = cache.key(
        wheel=hashlib.sha256(content).hexdigest(),
        extra=extra,
        platforms=machine.platforms(),
        python=machine.python,
        pins=_pins(),
    )

    def make(folder: Path) -> None:
        wheels = folder / "wheels"
        wheels.mkdir()
        (wheels / wheel).write_bytes(content)
        _download(wheels, wheel, machine, extra)
        with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_STORED) as bundle:  # wheels are compressed
            main = resources.files("edgekit.devices").joinpath("unpack_bundle.py").read_bytes()
            bundle.writestr(zipfile.ZipInfo("__main__.py", EPOCH), main)
            for path in sorted(wheels.glob("*.whl")):
                with (
                    path.open("rb") as source,
                    bundle.open(zipfile.ZipInfo(f"wheels/{path.name}", EPOCH), "w") as entry,
                ):
                    shutil.copyfileobj(source, entry)
        shutil.rmtree(wheels)

    return cache.step(f"bundle-{parts}", make) / name


def _pins() -> list[str]:
    """The versions that are installed here: those a package was judged with are the first to try."""
    return sorted({f"{d.name}=={d.version}" for d in distributions() if d.name and "+" not in d.version})


def _download(folder: Path, wheel: str, machine: Machine, extra: str) -> None:
    """Wheels for the machine into `folder`: the versions that are here, else what edgekit's ranges allow."""
    if find_spec("pip") is None:
        raise MissingError("The wheels for a device are downloaded by pip, which is not here", "", "install pip")
    pins = folder / "pins.txt"
    pins.write_text("\n".join(_pins()) + "\n", encoding="utf-8")
    try:
        said = _pip(folder, wheel, machine, extra, ["-c", str(pins)])
        if said:
            said = _pip(folder, wheel, machine, extra, [])
    finally:
        pins.unlink()
    if not said:
        return
    missing = re.search(r"No matching distribution found for (.{1,100})", said)
    if missing and "Could not find a version" in said and "from versions: none" not in said:
        raise DeviceError(
            f"There is no wheel of {missing[1]} for {machine.tag} ({machine.libc})",
            "its makers publish none for this Python and processor",
            "take another Python there (python = PATH in devices.toml), or a target of another engine",
        )
    raise MissingError(
        f"The wheels for {machine.tag} cannot be downloaded",
        said.strip().splitlines()[-1][:300],
        "connect this machine to the network; the device needs none",
    )


def _pip(folder: Path, wheel: str, machine: Machine, extra: str, more: Sequence[str]) -> str:
    """ "" when it went well, else what pip said."""
    python = f"{machine.python[0]}.{machine.python[1]}"
    fits = ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
    fits += [f"--platform={tag}" for tag in machine.platforms()]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input"]
    requirement = str(folder / wheel) + (f"[{extra}]" if extra else "")
    with progress.waiting(f"downloading wheels for {machine.tag}"):
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "download", *quiet, *fits, *more, "-d", str(folder), requirement],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PATIENCE,
                cwd=folder,
            )
        except subprocess.TimeoutExpired:
            return f"pip took more than {_PATIENCE:g} seconds"
    return done.stderr or f"exit code {done.returncode}" if done.returncode else ""
