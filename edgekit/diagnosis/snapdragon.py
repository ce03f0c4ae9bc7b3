"""Checks for packages of a Snapdragon: toolchain, chip, precision, and what its NPU needs around it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from edgekit.diagnosis.base import Check, Machine, State, chips_of, known_chips
from edgekit.diagnosis.versions import Context, context_of
from edgekit.errors import IntegrityError
from edgekit.package import Package
from edgekit.runtime.engines.qnn import compiler
from edgekit.runtime.ranges import numbers
from edgekit.spec import Precision, graph_of
from edgekit.target import Chip

ANDROID = "docs/android.md"
_NODES = ("fastrpc-cdsp*", "adsprpc-smd*")  # of current kernels, and of Android's older ones
_RPC = "libcdsprpc.so"  # what the HTP stub is linked to; it comes with the system, not with QAIRT


def toolchain(package: Package, here: bool) -> Check:
    """The QAIRT that compiled the contexts, against the one installed (`here`: that matters)."""
    newest = max(_compiled_with(package), key=numbers, default="")
    if not newest:
        return Check("QAIRT", State.UNKNOWN, "neither the contexts nor the manifest name theirs")
    says = f"contexts made by QAIRT {newest}"
    have = compiler().removeprefix("QAIRT ")
    if not here:
        return Check(
            "QAIRT", State.UNKNOWN, f"{says}; the device's is its own", "a device with an older one does not open them"
        )
    if not have:
        return Check("QAIRT", State.UNKNOWN, f"{says}; onnxruntime-qnn here does not name its own")
    if numbers(newest) > numbers(have):
        return Check(
            "QAIRT",
            State.PROBLEM,
            f"{says}, newer than the one here, {have}: it does not open them",
            "pip install --upgrade onnxruntime-qnn, or convert with the version installed here",
        )
    return Check("QAIRT", State.OK, f"{says}; here {have}")


def _compiled_with(package: Package) -> Iterator[str]:
    contexts = [c.qairt for c in _contexts(package).values()]
    noted = str(package.manifest.toolchain.get("versions", {}).get("QAIRT", ""))
    yield from contexts or ([noted] if numbers(noted) else [])


def _contexts(package: Package) -> dict[str, Context]:
    """What each chip's context says of itself; those that cannot be read, or say nothing, apart."""
    chips, contexts = package.manifest.engine.chips, dict[str, Context]()
    read = dict[str, Context | None]()
    for chip, file in chips.items():
        if file not in read:
            try:
                read[file] = context_of(package.read(file))
            except IntegrityError:  # the check of the package says so
                read[file] = None
        if (context := read[file]) is not None:
            contexts[chip] = context
    return contexts


def precision(package: Package, machine: Machine | None) -> Check:
    """Whether every chip concerned computes in the package's precision."""
    computed, chips = package.manifest.precision, chips_of(package)
    if machine and machine.soc:
        chips[machine.soc] = known_chips().get(machine.soc)
    if not computed.is_float:
        return Check("precision", State.OK, f"{computed}: integers, which every Snapdragon NPU computes")
    without = [n for n, c in chips.items() if c and not c.fp16]
    if without:
        instead = " or ".join(p for p in (Precision.W8A16, Precision.W8A8))
        return Check(
            "precision",
            State.PROBLEM,
            f"{computed}, and the NPU of {', '.join(without)} has no floating point",
            f"convert with -p {instead}",
        )
    unknown = [n for n, c in chips.items() if c is None]
    if unknown:
        return Check("precision", State.UNKNOWN, f"{computed}; no target knows {', '.join(unknown)}")
    return Check("precision", State.OK, f"{computed}, which {', '.join(chips)} computes")


def chip(package: Package, machine: Machine) -> Check:
    """Whether this machine has a chip the package was compiled for."""
    have, names = package.manifest.engine.chips, ", ".join(chips_of(package))
    if not machine.soc:
        return _no_chip(machine, names)
    says = f"this machine has a {machine.soc}; the package is for {names}"
    if machine.soc in have:
        return Check("chip", State.OK, says)
    again = f"edgekit targets lists the one of {machine.soc}: convert for it"
    mine, contexts = known_chips().get(machine.soc), _contexts(package)
    if mine is None or len(set(have.values())) > 1:  # the engine does not choose among several
        return Check("chip", State.PROBLEM if len(set(have.values())) > 1 else State.UNKNOWN, says, again)
    htp = next(iter(contexts.values())).htp if contexts else 0
    htp = htp or max((c.htp for c in chips_of(package).values() if c), default=0)
    if htp > mine.htp:
        return Check("chip", State.PROBLEM, f"{says}: v{htp} does not open on Hexagon v{mine.htp}", again)
    why = f"made for Hexagon v{htp}, it may open on v{mine.htp}" if htp else "it may open"
    return Check("chip", State.UNKNOWN, f"{says}: {why}", again)


def _no_chip(machine: Machine, names: str) -> Check:
    if machine.simulates:
        return Check(
            "chip",
            State.PROBLEM,
            f"no Snapdragon here ({machine}), and the package is for {names}: only the simulator runs it",
            "--device sim:htp, or copy it to the device and run this there",
        )
    if machine.may_be_snapdragon:
        return Check("chip", State.UNKNOWN, f"{machine} does not name its chip; the package is for {names}")
    return Check(
        "chip",
        State.PROBLEM,
        f"no Snapdragon here ({machine}), and the package is for {names}",
        "run this on the device; a simulator runs on x86 Linux only",
    )


def surroundings(package: Package, machine: Machine) -> list[Check]:
    """What a Snapdragon's system must offer. Nothing on machines that are none."""
    if not machine.may_be_snapdragon:
        return []
    mine = known_chips().get(machine.soc)
    chips = [mine] if mine else [c for c in chips_of(package).values() if c]
    rows = [_libraries(chips, machine)]
    if machine.system == "Windows":
        return [
            *rows,
            Check(
                "NPU driver",
                State.UNKNOWN,
                "Windows does not tell which QAIRT its driver fits",
                "if it does not open: the newest NPU driver from Windows Update",
            ),
        ]
    return [*rows, _search_path(chips, machine), _access(machine), _driver(machine)]


def _libraries(chips: list[Chip], machine: Machine) -> Check:
    """The two halves of HTP: the stub, loaded here, and the skel, loaded by the DSP."""
    folders = [*_own_folder(), *_searched(machine)]
    versions = sorted({c.htp for c in chips})
    if not versions:
        return Check("NPU libraries", State.UNKNOWN, "no target knows the chip, so neither its Hexagon")
    missing = [n for v in versions for n in _names(v, machine) if not any((f / n).is_file() for f in folders)]
    hexagon = ", ".join(f"v{v}" for v in versions)
    if not missing:
        return Check("NPU libraries", State.OK, f"skel and stub of Hexagon {hexagon}")
    looked = ", ".join(map(str, folders)) or "no folder: onnxruntime-qnn is not installed"
    return Check(
        "NPU libraries",
        State.PROBLEM,
        f"{', '.join(missing)} not in {looked}",
        f"take an onnxruntime-qnn that has Hexagon {hexagon}, or set ADSP_LIBRARY_PATH to QAIRT's folder of them",
    )


def _names(version: int, machine: Machine) -> tuple[str, str]:
    stub = f"QnnHtpV{version}Stub"
    return f"libQnnHtpV{version}Skel.so", f"{stub}.dll" if machine.system == "Windows" else f"lib{stub}.so"


def _own_folder() -> list[Path]:
    module = find_spec("onnxruntime_qnn")
    return [Path(module.origin).parent] if module and module.origin else []


def _searched(machine: Machine) -> list[Path]:
    """FastRPC separates folders by semicolons, on Linux as well."""
    listed = machine.environment.get("ADSP_LIBRARY_PATH", "")
    return [Path(part) for part in listed.split(";") if part]


def _search_path(chips: list[Chip], machine: Machine) -> Check:
    """Where the DSP looks for skels. The execution provider sets it to its own folder when unset."""
    folders = _searched(machine)
    if not folders:
        return Check("ADSP_LIBRARY_PATH", State.OK, "not set: onnxruntime-qnn sets it to its own folder")
    gone = [str(f) for f in folders if not f.is_dir()]
    skels = [_names(c.htp, machine)[0] for c in chips]
    unset = "unset it, or add onnxruntime-qnn's folder"
    if gone:
        return Check("ADSP_LIBRARY_PATH", State.PROBLEM, f"names folders that are not there: {', '.join(gone)}", unset)
    lacking = [s for s in skels if not any((f / s).is_file() for f in folders)]
    if lacking:
        return Check("ADSP_LIBRARY_PATH", State.PROBLEM, f"none of its folders has {', '.join(lacking)}", unset)
    return Check("ADSP_LIBRARY_PATH", State.OK, ";".join(map(str, folders)))


def _access(machine: Machine) -> Check:
    """The device node of the DSP, and the system's library that speaks to it."""
    nodes = [n for pattern in _NODES for n in sorted((machine.root / "dev").glob(pattern))]
    if not nodes:
        return Check(
            "NPU driver",
            State.PROBLEM,
            f"neither {' nor '.join(f'/dev/{n}' for n in _NODES)} is there",
            "install the board's FastRPC driver and DSP firmware",
        )
    shown = ", ".join(f"/dev/{n.name}" for n in nodes)
    if not any(os.access(n, os.R_OK) for n in nodes):
        return Check(
            "NPU driver",
            State.PROBLEM,
            f"{shown}: not readable by you",
            f"ls -l {shown.replace(',', '')} names the group to join",
        )
    if not _loads(_RPC):
        return Check(
            "NPU driver",
            State.PROBLEM,
            f"{shown}, but {_RPC} does not load",
            "install the system's FastRPC library; in an app: " + ANDROID,
        )
    return Check("NPU driver", State.OK, f"{shown} readable, {_RPC} loads")


def _loads(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def _driver(machine: Machine) -> Check:
    """No system tells which QAIRT its DSP firmware fits; its name at least helps others."""
    try:
        lines = (machine.root / "sys/devices/soc0/images").read_text(errors="replace", encoding="utf-8").splitlines()
    except OSError:
        lines = []
    image = next((line.strip() for line in lines if "CDSP" in line.upper()), "")
    firmware = f"DSP firmware {image}" if image else "the system does not name its DSP firmware"
    return Check(
        "driver version",
        State.UNKNOWN,
        f"{firmware}; which QAIRT it fits is not told",
        "if it does not open: update the system, or take an older onnxruntime-qnn and convert with it",
    )


def app(package: Package, on_phone: bool) -> list[Check]:
    """A reminder, for packages that end in an app on a phone (`on_phone`: the device is one)."""
    phones = [name for name in chips_of(package) if name.startswith("SM")]
    if not phones and not on_phone:
        return []
    reminder = f"{', '.join(phones) or 'the phone'}: an app is not looked into from here"
    graph = graph_of(package.manifest.model)
    if graph and any(tensor.dtype == "uint16" for tensor in graph.inputs):
        reminder += "; its input is uint16, which Kotlin feeds by a detour"
    newest = max(_compiled_with(package), key=numbers, default="")
    needs = f"com.qualcomm.qti:qnn-runtime {newest} or later" if newest else "com.qualcomm.qti:qnn-runtime"
    runtime = package.manifest.engine.libraries.get("onnxruntime", "")
    needs += f", onnxruntime-android {runtime}" if runtime else ""
    return [
        Check(
            "Android app",
            State.UNKNOWN,
            reminder,
            f"it needs {needs}, extracted native libraries, libcdsprpc.so declared, ADSP_LIBRARY_PATH: {ANDROID}",
        )
    ]
