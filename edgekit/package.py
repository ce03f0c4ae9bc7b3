"""Packages on disk: a folder with a manifest, the artefacts and a receipt (docs/format.md).

Standard library only: the runtime on a device reads packages through this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.atomic import MANIFEST, new_folder
from edgekit.errors import ConversionError, IntegrityError
from edgekit.spec import DetectionSpec, Precision, check_detection, from_json, to_json

SCHEMA = "edgekit.package/1"
RECEIPT_SCHEMA = "edgekit.receipt/1"
RECEIPT = "receipt.json"
_MAX_JSON = 16 * 2**20  # no honest manifest comes near; a hostile one must not fill memory


@dataclass(frozen=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class EngineRequirement:
    """The engine that opens `artifact`, and the versions it was tested with (PEP 440).

    `chips`: where each chip has a file of its own, which one; `artifact` is then the first.
    """

    name: str
    versions: str
    artifact: str
    chips: dict[str, str] = field(default_factory=dict)

    @property
    def artifacts(self) -> set[str]:
        return {self.artifact, *self.chips.values()}


@dataclass(frozen=True)
class Manifest:
    name: str
    target: str
    precision: Precision
    engine: EngineRequirement
    model: DetectionSpec
    source: dict[str, Any]
    toolchain: dict[str, Any]
    files: dict[str, FileEntry] = field(default_factory=dict)
    schema: str = SCHEMA

    @property
    def task(self) -> str:
        return self.model.task


def canonical(value: Any) -> bytes:
    """The one JSON text that stands for a value: sorted keys, two spaces, UTF-8, final newline."""
    text = json.dumps(to_json(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


class Package:
    """A package opened for reading. Opening checks the manifest; `read` checks what it returns."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """`path` is a package folder or an `.edgepkg` file. Raises IntegrityError."""
        self.path = Path(path)
        self._unpacked: tempfile.TemporaryDirectory[str] | None = None
        self.folder = self.path
        if self.path.is_file():
            self._unpacked = tempfile.TemporaryDirectory(prefix="edgekit-")
            self.folder = unpack(self.path, Path(self._unpacked.name))
        raw = _read_json(self.folder, MANIFEST)
        self.manifest_sha256 = hashlib.sha256(raw).hexdigest()
        self.manifest = _parse_manifest(raw)
        self._check_listing()

    def read(self, name: str) -> bytes:
        """The bytes of a listed file, once they match the manifest's hash."""
        entry = self.manifest.files.get(name)
        if entry is None:
            raise IntegrityError(f"{name} is not listed in the manifest of {self.path.name}")
        path = _regular_file(self.folder, name)
        data = path.read_bytes()
        if len(data) != entry.bytes or hashlib.sha256(data).hexdigest() != entry.sha256:
            raise IntegrityError(
                f"{name} in {self.path.name} is not the file that was packaged",
                "its SHA-256 differs from the manifest's",
                "copy the package again, or convert again",
            )
        return data

    def receipt(self) -> dict[str, Any]:
        """The receipt, checked against its own digest and this manifest."""
        raw = _read_json(self.folder, RECEIPT)
        data = _parse_json(raw, RECEIPT)
        body = {k: v for k, v in data.items() if k != "digest"}
        digest = hashlib.sha256(canonical(body)).hexdigest()
        if data.get("digest") != digest or raw != canonical(data):
            raise IntegrityError(
                f"The receipt of {self.path.name} was changed after it was written",
                "its digest does not match", "convert again to have it measured again",
            )  # fmt: skip
        if not str(data.get("schema", RECEIPT_SCHEMA)).startswith(RECEIPT_SCHEMA.split("/")[0] + "/1"):
            raise IntegrityError(f"The receipt of {self.path.name} is of a newer version", "",
                                 "pip install --upgrade edgekit")  # fmt: skip
        if data.get("manifest_sha256") != self.manifest_sha256:
            raise IntegrityError(
                f"The manifest of {self.path.name} is not the one its receipt was written for",
                "manifest.json was changed, or the files come from two packages",
                "copy the package again, or convert again",
            )
        return data

    def verify(self) -> int:
        """Check every byte; returns how many. Raises IntegrityError naming the first that differs."""
        self.receipt()
        return sum(len(self.read(name)) for name in sorted(self.manifest.files))

    def _check_listing(self) -> None:
        """Nothing but listed, regular files; a receipt being written by another process apart."""
        listed = {*self.manifest.files, MANIFEST, RECEIPT}
        for path in sorted(self.folder.rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_symlink():
                raise IntegrityError(
                    f"{name} in {self.path.name} is a link", "packages hold only files"
                )
            if path.is_file() and name not in listed and not name.startswith(f".{RECEIPT}."):
                raise IntegrityError(
                    f"{name} is in {self.path.name} but not in its manifest",
                    "a package holds nothing else", "remove it, or convert again",
                )  # fmt: skip

    def replace_receipt(self, receipt: Mapping[str, Any]) -> None:
        """Write a new receipt (without digest) for this manifest, atomically."""
        body = {**to_json(dict(receipt)), "manifest_sha256": self.manifest_sha256}
        body.pop("digest", None)
        body["digest"] = hashlib.sha256(canonical(body)).hexdigest()
        temporary = self.folder / f".{RECEIPT}.{os.getpid()}"
        try:
            temporary.write_bytes(canonical(body))
            os.replace(temporary, self.folder / RECEIPT)
        finally:
            temporary.unlink(missing_ok=True)


def _read_json(folder: Path, name: str) -> bytes:
    if not folder.is_dir():
        raise IntegrityError(f"There is no package at {folder}", "", "check the path")
    path = _regular_file(folder, name)
    if path.stat().st_size > _MAX_JSON:
        raise IntegrityError(f"{name} is larger than any real one")
    return path.read_bytes()


def _parse_json(raw: bytes, name: str) -> dict[str, Any]:
    try:
        data = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name} is not JSON: {error}", "", "copy the package again") from error
    if not isinstance(data, dict):
        raise IntegrityError(f"{name} is not a JSON object", "", "copy the package again")
    return data


def _parse_manifest(raw: bytes) -> Manifest:
    data = _parse_json(raw, MANIFEST)
    schema = str(data.get("schema", ""))
    family, _, major = schema.partition("/")
    if family != "edgekit.package":
        raise IntegrityError("manifest.json is not an edgekit manifest", f"its schema is {schema!r}")
    if schema != SCHEMA:
        raise IntegrityError(
            f"This package has format version {major[:20]}, and this edgekit reads version 1", "",
            "pip install --upgrade edgekit",
        )  # fmt: skip
    try:
        manifest = from_json(Manifest, data)
        check_detection(manifest.model)
    except ValueError as error:
        raise IntegrityError(f"manifest.json is malformed: {error}", "", "convert again") from error
    for name in manifest.files:
        _check_name(name)
    if not manifest.engine.artifacts <= manifest.files.keys():
        raise IntegrityError("manifest.json names an artefact that it does not list")
    return manifest


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name
    if bad or name != path.as_posix() or name in (".", "", MANIFEST, RECEIPT):
        raise IntegrityError(
            f"The manifest lists {name!r}", "paths in a package are relative and stay inside it",
            "do not use this package: it was not written by edgekit",
        )  # fmt: skip


def _regular_file(folder: Path, name: str) -> Path:
    path = folder
    for part in PurePosixPath(name).parts:
        path = path / part
        if path.is_symlink():
            raise IntegrityError(f"{name} is a link", "packages hold only files")
    if not path.is_file():
        raise IntegrityError(f"{name} is missing from {folder.name}", "", "copy the package again")
    return path


def write_package(
    out: Path, manifest: Manifest, files: Mapping[str, bytes], receipt: Mapping[str, Any]
) -> Package:
    """Write `out`, replacing a package that is there. It appears complete or not at all."""
    entries = {n: FileEntry(hashlib.sha256(d).hexdigest(), len(d)) for n, d in sorted(files.items())}
    for name in entries:
        _check_name(name)
    with new_folder(out) as folder:
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        (folder / MANIFEST).write_bytes(canonical(replace(manifest, files=entries)))
        Package(folder).replace_receipt(receipt)
    return Package(out)


def pack(package: Package, out: Path) -> Path:
    """Write the verified package as one `.edgepkg` file: a zip, uncompressed, fixed timestamps."""
    package.verify()
    names = sorted([*package.manifest.files, MANIFEST, RECEIPT])
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
                info.external_attr = 0o644 << 16
                archive.writestr(info, (package.folder / name).read_bytes())
        os.replace(temporary, out)
    except OSError as error:
        raise ConversionError(f"{out} cannot be written", str(error.strerror or error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return out


def unpack(file: Path, into: Path) -> Path:
    """Extract an `.edgepkg` below the folder `into` and return the package's folder.

    Only names that its own manifest lists are written, each at the size listed.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {i.filename: i.file_size for i in archive.infolist()}
            if any(i.compress_type != zipfile.ZIP_STORED for i in archive.infolist()):
                raise IntegrityError(
                    f"{file.name} is compressed, and packages never are",
                    "a small file could unpack to any size",
                    "pack it with edgekit pack",
                )
            for name in (MANIFEST, RECEIPT):
                if sizes.get(name, _MAX_JSON + 1) > _MAX_JSON:
                    raise IntegrityError(f"{file.name} holds no usable {name}")
            manifest = _parse_manifest(archive.read(MANIFEST))
            expected = {n: e.bytes for n, e in manifest.files.items()}
            extra = sizes.keys() - expected.keys() - {MANIFEST, RECEIPT}
            if extra or any(sizes.get(n) != size for n, size in expected.items()):
                raise IntegrityError(
                    f"{file.name} does not hold what its manifest lists", "",
                    "copy the file again, or convert again",
                )  # fmt: skip
            folder = into / manifest.name
            _check_name(manifest.name)
            with new_folder(folder) as temporary:
                for name in (*expected, MANIFEST, RECEIPT):
                    (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                    (temporary / name).write_bytes(archive.read(name))
                written = Package(temporary)
                written.path = file  # what an error names
                written.verify()  # before it takes the place of anything
            return folder
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise IntegrityError(
            f"{file.name} is not a package, or it is truncated", str(error), "copy the file again"
        ) from error
