"""An ARM64 board in software: Debian's Python and the device wheels under user-mode emulation.

Built once, without root, from Debian's archive and the Python index, and kept between runs. For
results only: how long emulated code takes says nothing about a board.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.data import ROOT

_RELEASE = "bookworm"
_PYTHON = "3.11"
_CPU = "cortex-a76"
_DEBS = [f"python{_PYTHON}", "libstdc++6", "libgomp1"]
_WHEELS = [
    "numpy==2.4.6",
    "onnxruntime==1.32.0",
    "onnxruntime-genai==0.18.0",
    "tokenizers==0.23.3",
    "ai-edge-litert==2.3.0",
    "click==8.5.1",
    "pillow==13.0.0",
]
# glibc 2.36 runs every one of these; older pips take each name literally.
_PLATFORMS = ["manylinux2014_aarch64", *(f"manylinux_2_{n}_aarch64" for n in range(17, 37))]
_FOR_ARM64 = ["--only-binary=:all:", f"--python-version={_PYTHON}", *(f"--platform={p}" for p in _PLATFORMS)]
# The emulator shows the host's, in which both engines look for an ARM core and crash.
_CPUINFO = "".join(
    f"processor\t: {core}\nBogoMIPS\t: 50.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 "
    "atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\nCPU revision\t: 1\n\n"
    for core in range(2)
)
_IMPORTS = "import numpy, onnxruntime_genai, tokenizers, ai_edge_litert.interpreter, click, PIL.Image"
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SOURCE = f"deb [signed-by={_KEYRING}] http://deb.debian.org/debian {_RELEASE} main\n"
_APT = """
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "{host}"; }};
APT::Install-Recommends "false";
APT::Update::Error-Mode "any";
APT::Sandbox::User "";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State "{folder}";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}";
Dir::Log "{folder}";
"""


class UnavailableError(Exception):
    """This machine cannot have the environment; nothing is wrong with the project."""


@functools.cache
def available() -> str:
    """Why there is no ARM64 here, for a skip; empty when there is. Builds it the first time.

    A build that fails for another reason than the machine or its network raises.
    """
    try:
        _folder()
    except UnavailableError as reason:
        return str(reason)
    return ""


def install(target: Path) -> Path:
    """This checkout, installed as on a board: with the metadata by which engines are found."""
    _finish(_start(*_pip("--no-deps", "--target", target, ROOT)))
    return target


def run(
    *arguments: object, path: Iterable[Path] = (), timeout: float = 300, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """`python3.11 ARGUMENTS` on ARM64. `path`: folders to import from, besides the wheels.

    Code under test cannot start processes: the kernel runs no ARM64 files.
    """
    return _run(_folder(), arguments, path, timeout, cwd)


def interpreter(place: Path) -> Path:
    """A command `python3.11` in the folder `place` that is a Python of ARM64, and starts itself as one that is not
    emulated does. It has none of the wheels: a device gets its own."""
    folder, command = _folder(), place / f"python{_PYTHON}"
    words = ["-cpu", _CPU, "-L", folder / "sysroot", "-0", command, "-E", "PYTHONHOME=/usr"]
    shown = " ".join(
        f"'{w}'" for w in (folder / "qemu-aarch64-static", *words, folder / f"sysroot/usr/bin/python{_PYTHON}")
    )
    command.write_text(f'#!/bin/sh\nexec {shown} "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return command


def _run(
    folder: Path, arguments: Iterable[object], path: Iterable[Path], timeout: float, cwd: Path | None
) -> subprocess.CompletedProcess[str]:
    # A path that the sysroot lacks is the host's: keep out what its Python and libraries go by, with
    # -S its packages, and with -P the current folder.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LD_", "QEMU_"))}
    kept["PYTHONPATH"] = os.pathsep.join(map(str, [*path, folder / "site"]))
    sysroot = folder / "sysroot"
    python = [sysroot / "usr/bin" / f"python{_PYTHON}", "-S", "-P"]
    return subprocess.run(
        [str(a) for a in (folder / "qemu-aarch64-static", "-cpu", _CPU, "-L", sysroot, *python, *arguments)],
        env=kept,
        cwd=cwd,
        timeout=timeout,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


@functools.cache
def _folder() -> Path:
    for tool in ("apt-get", "dpkg", "tar"):
        if sys.platform != "linux" or not shutil.which(tool):
            raise UnavailableError(f"ARM64 is put together with Debian's tools, and {tool} is not here")
    if not _KEYRING.is_file():
        raise UnavailableError(f"Debian's packages cannot be checked without {_KEYRING}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgekit-tests"
    held = repr([_RELEASE, _PYTHON, _DEBS, _WHEELS, _CPUINFO, os.uname().machine])
    folder = cache / f"arm64-{hashlib.sha256(held.encode()).hexdigest()[:12]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / "arm64.lock").open("w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be building
            if not folder.exists():
                for leftover in cache.glob("arm64-partial-*"):  # of a build that was killed
                    shutil.rmtree(leftover, ignore_errors=True)
                partial = Path(tempfile.mkdtemp(prefix="arm64-partial-", dir=cache))
                try:
                    _build(partial)
                    partial.rename(folder)
                finally:
                    shutil.rmtree(partial, ignore_errors=True)
    return folder


def _build(folder: Path) -> None:
    with _start(*_pip("--target", folder / "site", *_FOR_ARM64, *_WHEELS)) as wheels:
        try:
            _unpack(folder, folder / "apt")
            _finish(wheels)
        finally:
            wheels.kill()
    (folder / "sysroot" / "proc").mkdir()
    (folder / "sysroot" / "proc" / "cpuinfo").write_text(_CPUINFO, encoding="utf-8")
    tried = _run(folder, ["-c", _IMPORTS], (), 300, None)  # leaves its bytecode for the next
    if tried.returncode:
        raise RuntimeError(f"The new ARM64 does not work: {tried.returncode} {tried.stderr}")


def _unpack(folder: Path, apt: Path) -> None:
    """The emulator, and a root folder with Python and what it links to."""
    (apt / "lists" / "partial").mkdir(parents=True)
    (apt / "archives" / "partial").mkdir(parents=True)
    (apt / "sources.list").write_text(_SOURCE, encoding="utf-8")
    (apt / "status").touch()  # nothing is installed, so every dependency comes along
    # Of this machine's configuration only how the network is reached: the rest has hooks that act
    # on the machine's own cache.
    network = _finish(_start("apt-config", "dump", "Acquire::http", "Acquire::https"))
    host = _finish(_start("dpkg", "--print-architecture")).strip()
    (apt / "apt.conf").write_text(network + _APT.format(folder=apt, host=host), encoding="utf-8")
    env = {**os.environ, "APT_CONFIG": str(apt / "apt.conf")}
    try:
        _finish(_start("apt-get", "update", env=env))
    except RuntimeError as error:
        raise UnavailableError(f"Debian's archive cannot be read: {str(error).splitlines()[0]}") from error
    names = [*_DEBS, f"qemu-user-static:{host}"]
    _finish(_start("apt-get", "install", "--yes", "--download-only", *names, env=env))
    for deb in (apt / "archives").glob("*.deb"):
        if deb.name.startswith("qemu-user-static_"):  # one emulator of the fifty in it
            with _start("dpkg-deb", "--fsys-tarfile", deb) as archive:
                binary = "./usr/bin/qemu-aarch64-static"
                _finish(_start("tar", "-x", "-C", apt, binary, stdin=archive.stdout))
            (apt / binary).rename(folder / "qemu-aarch64-static")
        else:
            _finish(_start("dpkg-deb", "--extract", deb, folder / "sysroot"))
    shutil.rmtree(apt)


def _pip(*arguments: object) -> list[object]:
    quiet = ["--quiet", "--no-compile", "--disable-pip-version-check", "--no-warn-conflicts"]
    return [sys.executable, "-m", "pip", "install", *quiet, *arguments]


def _start(*command: object, **options: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([str(c) for c in command], **{**pipes, **options})


def _finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(process.args[:2])}: {err.strip()[-600:]}")
    return out
