"""Packages as one `.edgepkg` file: a zip of the same files, never compressed. Standard library only."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from edgekit import staging
from edgekit.atomic import MANIFEST, new_folder
from edgekit.errors import ConversionError, IntegrityError
from edgekit.package import MAX_FILES, MAX_JSON, RECEIPT, Package, check_name, parse_manifest

_CHUNK = 2**20


def pack(package: Package, out: Path) -> Path:
    """Write the verified package as one `.edgepkg` file: a zip, uncompressed, fixed timestamps."""
    package.verify()
    names = sorted([*package.manifest.files, MANIFEST, RECEIPT])
    try:
        with staging.new_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                info.file_size = (package.folder / name).stat().st_size
                with (package.folder / name).open("rb") as file, archive.open(info, "w") as inside:
                    shutil.copyfileobj(file, inside, _CHUNK)
    except OSError as error:
        raise ConversionError(f"{out} cannot be written", str(error.strerror or error)) from error
    return out


def unpack(file: Path, into: Path, durable: bool = True) -> Path:
    """Extract an `.edgepkg` below the folder `into` and return the package's folder.

    Only names that its own manifest lists are written, each at the size listed. `durable`: see
    `new_folder`; not for what is read once and removed.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {i.filename: i.file_size for i in archive.infolist()}
            if len(archive.infolist()) > min(MAX_FILES, len(sizes)) + 2:
                raise IntegrityError(
                    f"{file.name} holds {len(archive.infolist())} files",
                    "some stand twice, or they are too many",
                    "do not use this file: edgekit did not pack it",
                )
            if sum(sizes.values()) > file.stat().st_size:  # entries that share bytes
                raise IntegrityError(
                    f"{file.name} unpacks to more than it holds",
                    "a small file could unpack to any size",
                    "pack it with edgekit pack",
                )
            if any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
                raise IntegrityError(
                    f"{file.name} is compressed, and packages never are",
                    "a small file could unpack to any size",
                    "pack it with edgekit pack",
                )
            for name in (MANIFEST, RECEIPT):
                if sizes.get(name, MAX_JSON + 1) > MAX_JSON:
                    raise IntegrityError(
                        f"{file.name} is no package: it holds no usable {name}", "", "pass an .edgepkg file"
                    )
            manifest = parse_manifest(archive.read(MANIFEST))
            expected = {n: e.bytes for n, e in manifest.files.items()}
            extra = sizes.keys() - expected.keys() - {MANIFEST, RECEIPT}
            if extra or any(sizes.get(n) != size for n, size in expected.items()):
                raise IntegrityError(
                    f"{file.name} does not hold what its manifest lists", "", "copy the file again, or convert again"
                )
            folder = into / manifest.name
            check_name(manifest.name)
            with new_folder(folder, durable) as temporary:
                for name in (*expected, MANIFEST, RECEIPT):
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as inside, (temporary / name).open("wb") as out:
                        shutil.copyfileobj(inside, out, _CHUNK)
                written = Package(temporary)
                written.path = file  # what an error names
                written.verify()  # before it takes the place of anything
            return folder
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise IntegrityError(
            f"{file.name} is not a package, or it is truncated", str(error), "copy the file again"
        ) from error
