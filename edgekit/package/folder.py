"""Packages on disk: a folder with a manifest, the artefacts and a receipt (docs/format.md).

Standard library only: the runtime on a device reads packages through this file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from edgekit.errors import IntegrityError
from edgekit.package import contents
from edgekit.package.archive import extract, read_manifest
from edgekit.package.atomic import MANIFEST
from edgekit.package.manifest import MAX_JSON, RECEIPT, FileEntry, canonical, parse_document, parse_manifest
from edgekit.package.mistaken import may_be_packed, no_package
from edgekit.package.receipt import SCHEMA as RECEIPT_SCHEMA
from edgekit.package.receipt import check_receipt, read_receipt
from edgekit.spec import to_json
from edgekit.system import staging
from edgekit.system.distribution import install
from edgekit.system.documents import JsonObject


class Package:
    """A package opened for reading. Opening checks the manifest; `read` checks what it returns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """`path` is a package folder or an `.edgepkg` file. Raises IntegrityError, and UsageError where
        there is nothing."""
        self.path = Path(path)
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        self.folder = self.path
        packed = self.path.is_file() and may_be_packed(self.path)
        if not packed and not os.path.lexists(self.path / MANIFEST):
            raise no_package(os.fspath(path))
        if packed:
            self._unpacked = tempfile.TemporaryDirectory(prefix="edgekit-")
            self.folder = Path(self._unpacked.name) / read_manifest(self.path).name
            self.folder.mkdir()
            extract(self.path, self.folder)
        raw = _read_json(self.folder, MANIFEST)
        self.manifest_sha256 = hashlib.sha256(raw).hexdigest()
        self.manifest = parse_manifest(raw)
        self.ignored: tuple[str, ...] = ()  # what file managers left in it
        self._check_listing()
        if packed:
            self.verify()

    def read(self, name: str) -> bytes:
        """The bytes of a listed file, once they match the manifest's hash."""
        entry = self._entry(name)
        path = _regular_file(self.folder, name)
        data = path.read_bytes() if path.stat().st_size == entry.bytes else b""
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise self._changed(name)
        engine, listed = self.manifest.engine, self.manifest.files.keys()
        contents.check_file(name, data, engine.name, engine.artifact, listed)
        return data

    def check(self, name: str) -> int:
        """Compare a listed file with its hash; returns its bytes. What is large and is no model that
        could name other files is not kept in memory."""
        entry = self._entry(name)
        if contents.is_read_whole(name):
            return len(self.read(name))
        path = _regular_file(self.folder, name)
        with path.open("rb") as file:
            contents.check_beginning(name, file.read(contents.LONGEST_MAGIC))
            file.seek(0)
            same = path.stat().st_size == entry.bytes
            if not same or hashlib.file_digest(file, "sha256").hexdigest() != entry.sha256:
                raise self._changed(name)
        return entry.bytes

    def _entry(self, name: str) -> FileEntry:
        entry = self.manifest.files.get(name)
        if entry is None:
            raise IntegrityError(f"{name} is not listed in the manifest of {self.path.name}")
        return entry

    def _changed(self, name: str) -> IntegrityError:
        return IntegrityError(
            f"{name} in {self.path.name} is not the file that was packaged",
            "its SHA-256 differs from the manifest's",
            "copy the package again, or convert again",
        )

    def receipt(self) -> JsonObject:
        """The receipt, checked against its own digest and this manifest."""
        raw = _read_json(self.folder, RECEIPT)
        data = parse_document(raw, RECEIPT)
        body = {k: v for k, v in data.items() if k != "digest"}
        digest = hashlib.sha256(canonical(body)).hexdigest()
        if data.get("digest") != digest or raw != canonical(data):
            raise IntegrityError(
                f"The receipt of {self.path.name} was changed after it was written",
                "its digest does not match",
                "convert again to have it measured again",
            )
        if data.get("schema", RECEIPT_SCHEMA) != RECEIPT_SCHEMA:
            raise IntegrityError(
                f"The receipt of {self.path.name} has a format that this edgekit does not read",
                f"its schema is {data['schema']!r}, not {RECEIPT_SCHEMA}",
                install(upgrade=True),
            )
        if data.get("manifest_sha256") != self.manifest_sha256:
            raise IntegrityError(
                f"The manifest of {self.path.name} is not the one its receipt was written for",
                "manifest.json was changed, or the files come from two packages",
                "copy the package again, or convert again",
            )
        try:
            check_receipt(read_receipt(data), data.get("verdict"))
        except ValueError as error:
            raise IntegrityError(
                f"The receipt of {self.path.name} is malformed: {error}", "", "convert again"
            ) from error
        return data

    def verify(self) -> int:
        """Check every byte; returns how many. Raises IntegrityError naming the first that differs."""
        self.receipt()
        return sum(self.check(name) for name in sorted(self.manifest.files))

    def _check_listing(self) -> None:
        """Nothing but listed, regular files; a receipt being written by another process, and what file managers
        leave in every folder, apart."""
        junk: list[str] = []
        listed = {*self.manifest.files, MANIFEST, RECEIPT}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_symlink():
                raise IntegrityError(f"{name} in {self.path.name} is a link", "packages hold only files")
            if not path.is_file() or name in listed or staging.is_unfinished(name, RECEIPT):
                continue
            if contents.is_junk(path):
                junk.append(name)
            else:
                raise IntegrityError(
                    f"{name} is in {self.path.name} but not in its manifest",
                    "a package holds nothing else",
                    "remove it, or convert again",
                )
        self.ignored = tuple(junk)

    def replace_receipt(self, receipt: Mapping[str, object]) -> None:
        """Write a new receipt (without digest) for this manifest, atomically."""
        body = {**to_json(dict(receipt)), "manifest_sha256": self.manifest_sha256}
        body.pop("digest", None)
        body["digest"] = hashlib.sha256(canonical(body)).hexdigest()
        with staging.new_file(self.folder / RECEIPT) as temporary:
            temporary.write_bytes(canonical(body))


def _read_json(folder: Path, name: str) -> bytes:
    path = _regular_file(folder, name)
    if path.stat().st_size > MAX_JSON:
        raise IntegrityError(f"{name} is larger than any real one", "", "do not use this package")
    return path.read_bytes()


def _regular_file(folder: Path, name: str) -> Path:
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise IntegrityError(f"{name} is a link", "packages hold only files")
    if not path.is_file():
        raise IntegrityError(f"{name} is missing from {folder.name}", "", "copy the package again")
    return path
