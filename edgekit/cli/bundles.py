"""edgekit profile --bundle: what a device without a network needs, as one file to carry there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from edgekit.cli.output import emit, number

MACHINE = "cp313-aarch64"  # Raspberry Pi OS of 2025; that of 2023 is cp311-aarch64
_LIBC = "glibc 2.36"  # of Debian 12, and all that is newer


def write_bundle(packages: Sequence[str], machine: str, file: Path, as_json: bool) -> None:
    """Writes the bundle with the engines of these packages, and says how to use it. Raises UsageError, MissingError,
    DeviceError."""
    from edgekit.devices.bundle import Machine, make_bundle
    from edgekit.errors import UsageError
    from edgekit.package import Package
    from edgekit.package.atomic import check_writable
    from edgekit.runtime.opening import engine_named
    from edgekit.system.staging import new_file

    tag = re.fullmatch(r"cp3(\d{1,2})-(aarch64|x86_64)", machine)
    if tag is None:
        raise UsageError(
            f"--machine {machine:.40} is no machine that there are bundles for",
            "",
            "write Python and processor, as cp313-aarch64, cp311-aarch64 or cp312-x86_64",
        )
    names = {Package(p).manifest.engine.name for p in packages}
    extras = sorted({engine_named(name).extra for name in names})
    check_writable(file.parent)
    made = make_bundle(Machine(tag[2], (3, int(tag[1])), _LIBC), ",".join(e for e in extras if e))
    with new_file(file) as temporary:
        shutil.copyfile(made, temporary)
    if as_json:
        emit("bundle", path=str(file), bytes=file.stat().st_size, machine=machine, engines=sorted(names))
        return
    click.echo(f"{file}: {number(file.stat().st_size, 'bytes')}, for {', '.join(sorted(names))} on {machine}")
    click.echo(
        f"\non the device:\n  python3 {file.name} ~/edgekit-bundle -m edgekit.cli.main profile PACKAGE\n"
        "  rm -r ~/edgekit-bundle    when you are done\n\n"
        "The figures are in the package's receipt then, and the raw samples where edgekit says."
    )
