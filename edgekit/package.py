"""Packages on disk: a folder with a manifest, the artefacts and a receipt (docs/format.md).

Standard library only: the runtime on a device reads packages through this file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit.atomic import MANIFEST, new_folder
from edgekit.errors import IntegrityError, UsageError
from edgekit.spec import (
    DetectionSpec,
    ModelSpec,
    Precision,
    TextSpec,
    check_spec,
    from_json,
    to_json,
)

SCHEMA = "edgekit.package/1"
RECEIPT_SCHEMA = "edgekit.receipt/1"
RECEIPT = "receipt.json"
MAX_JSON = 16 * 2**20  # no honest manifest comes near; a hostile one must not fill memory


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
    model: ModelSpec
    source: dict[str, Any]
    toolchain: dict[str, Any]
    files: dict[str, FileEntry] = field(default_factory=dict)
    schema: str = SCHEMA

    @property
    def task(self) -> str:
        return self.model.task

    @property
    def detection(self) -> DetectionSpec:
        """The spec of a detector. Raises UsageError for another kind of model."""
        if isinstance(self.model, DetectionSpec):
            return self.model
        raise UsageError(
            f"{self.name} is no detector", f"its task is {self.task}", "edgekit generate PACKAGE"
        )

    @property
    def text(self) -> TextSpec:
        """The spec of a language model. Raises UsageError for another kind of model."""
        if isinstance(self.model, TextSpec):
            return self.model
        raise UsageError(
            f"{self.name} is no language model",
            f"its task is {self.task}",
            "edgekit detect PACKAGE IMAGE",
        )


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
            from edgekit.archive import unpack

            self.folder = unpack(self.path, Path(self._unpacked.name))
        raw = _read_json(self.folder, MANIFEST)
        self.manifest_sha256 = hashlib.sha256(raw).hexdigest()
        self.manifest = parse_manifest(raw)
        self._check_listing()

    def read(self, name: str) -> bytes:
        """The bytes of a listed file, once they match the manifest's hash."""
        entry = self._entry(name)
        data = _regular_file(self.folder, name).read_bytes()
        self._compare(name, entry, len(data), hashlib.sha256(data).hexdigest())
        return data

    def check(self, name: str) -> int:
        """Compare a listed file with its hash without keeping it in memory; returns its bytes."""
        entry = self._entry(name)
        path = _regular_file(self.folder, name)
        with path.open("rb") as file:
            self._compare(
                name, entry, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
            )
        return entry.bytes

    def _entry(self, name: str) -> FileEntry:
        entry = self.manifest.files.get(name)
        if entry is None:
            raise IntegrityError(f"{name} is not listed in the manifest of {self.path.name}")
        return entry

    def _compare(self, name: str, entry: FileEntry, size: int, sha256: str) -> None:
        if size != entry.bytes or sha256 != entry.sha256:
            raise IntegrityError(
                f"{name} in {self.path.name} is not the file that was packaged",
                "its SHA-256 differs from the manifest's",
                "copy the package again, or convert again",
            )

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
        return sum(self.check(name) for name in sorted(self.manifest.files))

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
    if path.stat().st_size > MAX_JSON:
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


def parse_manifest(raw: bytes) -> Manifest:
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
        check_spec(manifest.model)
    except ValueError as error:
        raise IntegrityError(f"manifest.json is malformed: {error}", "", "convert again") from error
    for name in manifest.files:
        check_name(name)
    if not manifest.engine.artifacts <= manifest.files.keys():
        raise IntegrityError("manifest.json names an artefact that it does not list")
    return manifest


def check_name(name: str) -> None:
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


Content = bytes | Path  # of a file in a package; large ones stay on the disk


def write_package(
    out: Path, manifest: Manifest, files: Mapping[str, Content], receipt: Mapping[str, Any]
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
