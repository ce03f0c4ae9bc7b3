"""Packages as one `.edgepkg` file: a zip of the same files, never compressed. Standard library only."""

from __future__ import annotations

import contextlib
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgekit.errors import ConversionError, IntegrityError
from edgekit.package.atomic import MANIFEST
from edgekit.package.manifest import MAX_FILES, MAX_JSON, RECEIPT, Manifest, check_name, parse_manifest
from edgekit.system import staging

_CHUNK = 2**20


def write_archive(folder: Path, names: Sequence[str], out: Path) -> None:
    """Write the files `names` of a folder as one zip, uncompressed, with fixed timestamps."""
    try:
        with staging.new_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                info.file_size = (folder / name).stat().st_size
                with (folder / name).open("rb") as file, archive.open(info, "w") as inside:
                    shutil.copyfileobj(file, inside, _CHUNK)
    except OSError as error:
        raise ConversionError(f"{out} cannot be written", str(error.strerror or error)) from error


def read_manifest(file: Path) -> Manifest:
    """The manifest in an `.edgepkg` file. Raises IntegrityError unless the file holds exactly what it lists."""
    with _opened(file) as archive:
        return _checked_manifest(archive, file)


def extract(file: Path, folder: Path) -> None:
    """Write the files of an `.edgepkg` file into an existing folder.

    Only names that its own manifest lists are written, each at the size listed; their bytes are not compared with
    the hashes yet. Raises IntegrityError as `read_manifest` does.
    """
    with _opened(file) as archive:
        manifest = _checked_manifest(archive, file)
        for name in (*manifest.files, MANIFEST, RECEIPT):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with archive.open(name) as inside, (folder / name).open("wb") as out:
                shutil.copyfileobj(inside, out, _CHUNK)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise IntegrityError(
            f"{file.name} is not a package, or it is truncated", str(error), "copy the file again"
        ) from error


def _checked_manifest(archive: zipfile.ZipFile, file: Path) -> Manifest:
    entries = archive.infolist()
    sizes = {i.filename: i.file_size for i in entries}
    if len(entries) > min(MAX_FILES, len(sizes)) + 2:
        raise IntegrityError(
            f"{file.name} holds {len(entries)} files",
            "some stand twice, or they are too many",
            "do not use this file: edgekit did not pack it",
        )
    if sum(sizes.values()) > file.stat().st_size:  # entries that share bytes
        raise IntegrityError(
            f"{file.name} unpacks to more than it holds",
            "a small file could unpack to any size",
            "pack it with edgekit pack",
        )
    if any(i.compress_type != zipfile.ZIP_STORED for i in entries):
        raise IntegrityError(
            f"{file.name} is compressed, and packages never are",
            "a small file could unpack to any size",
            "pack it with edgekit pack",
        )
    for name in (MANIFEST, RECEIPT):
        if sizes.get(name, MAX_JSON + 1) > MAX_JSON:
            raise IntegrityError(f"{file.name} is no package: it holds no usable {name}", "", "pass an .edgepkg file")
    manifest = parse_manifest(archive.read(MANIFEST))
    expected = {n: e.bytes for n, e in manifest.files.items()}
    extra = sizes.keys() - expected.keys() - {MANIFEST, RECEIPT}
    if extra or any(sizes.get(n) != size for n, size in expected.items()):
        raise IntegrityError(
            f"{file.name} does not hold what its manifest lists", "", "copy the file again, or convert again"
        )
    check_name(manifest.name)
    return manifest
