"""Packages written: a folder that appears whole or not at all, and the same as one file. Standard library only."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgekit.package.archive import extract, read_manifest, write_archive
from edgekit.package.atomic import MANIFEST, new_folder
from edgekit.package.folder import Package
from edgekit.package.manifest import RECEIPT, FileEntry, Manifest, canonical, check_name

Content = bytes | Path  # of a file in a package; large ones stay on the disk


def write_package(
    out: Path, manifest: Manifest, files: Mapping[str, Content], receipt: Mapping[str, object]
) -> Package:
    """Write `out`, replacing a package that is there. It appears complete or not at all."""
    entries = {n: _file_entry(d) for n, d in sorted(files.items())}
    for name in entries:
        check_name(name)
    with new_folder(out) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, Path):
                shutil.copyfile(data, folder / name)
            else:
                (folder / name).write_bytes(data)
        (folder / MANIFEST).write_bytes(canonical(replace(manifest, files=entries)))
        Package(folder).replace_receipt(receipt)
    return Package(out)


def _file_entry(content: Content) -> FileEntry:
    if isinstance(content, bytes):
        return FileEntry(hashlib.sha256(content).hexdigest(), len(content))
    with content.open("rb") as file:
        return FileEntry(hashlib.file_digest(file, "sha256").hexdigest(), content.stat().st_size)


def pack(package: Package, out: Path) -> Path:
    """Write the package, once every byte of it is checked, as one `.edgepkg` file."""
    package.verify()
    write_archive(package.folder, sorted([*package.manifest.files, MANIFEST, RECEIPT]), out)
    return out


def unpack(file: Path, into: Path) -> Path:
    """Extract an `.edgepkg` file below the folder `into` and return the package's folder.

    Every byte is checked before anything that is there is replaced.
    """
    folder = into / read_manifest(file).name
    with new_folder(folder) as temporary:
        extract(file, temporary)
        written = Package(temporary)
        written.path = file  # what an error names
        written.verify()
    return folder
