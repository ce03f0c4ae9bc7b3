"""The manifest of a package: what it is, and the hash of every file (docs/format.md). Standard library only."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from edgekit.errors import IntegrityError
from edgekit.package import contents
from edgekit.package.atomic import MANIFEST
from edgekit.spec import ModelSpec, Precision, from_json, read_spec, spec_as, to_json
from edgekit.spec.lookup import S
from edgekit.system.distribution import install
from edgekit.system.documents import DocumentError, JsonObject, parse_json

SCHEMA = "edgekit.package/1"
RECEIPT = "receipt.json"
MAX_JSON = 16 * 2**20  # no honest manifest comes near; a hostile one must not fill memory
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?")
_RANGE = re.compile(r"[0-9A-Za-z.*+!<>=~, -]{0,100}")
MAX_FILES = 2000  # the parts of a large language model for a dozen chips are some hundreds


@dataclass(frozen=True)
class FileEntry:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class EngineRequirement:
    """The engine that opens `artifact`, and the versions of its library that do (PEP 440).

    `chips`: where each chip has a file of its own, which one; `artifact` is then the first.
    `libraries`: what else the engine needs for this package, by the name of the distribution, and the versions.
    """

    name: str
    versions: str
    artifact: str
    chips: dict[str, str] = field(default_factory=dict)
    libraries: dict[str, str] = field(default_factory=dict)

    @property
    def artifacts(self) -> set[str]:
        """The names of all files that the engine opens."""
        return {self.artifact, *self.chips.values()}


@dataclass(frozen=True)
class Manifest:
    """What a package is (docs/format.md). `model`: how its inputs and outputs are to be used, a class of its task;
    `source`: what it was made from; `toolchain`: by what; `files`: every file by its name in the package."""

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
        """What the model does, as "detection"."""
        return self.model.task

    def model_as(self, kind: type[S]) -> S:
        """The spec, as that of a task which the caller knows. Raises UsageError when the package is for another."""
        return spec_as(self.model, kind, self.name)


def canonical(value: object) -> bytes:
    """The one JSON text that stands for a value: sorted keys, two spaces, UTF-8, final newline."""
    text = json.dumps(to_json(value), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def parse_document(raw: bytes, name: str) -> JsonObject:
    try:
        data = parse_json(raw, MAX_JSON)
    except DocumentError as error:
        raise IntegrityError(f"{name} is not JSON: {error}", "", "copy the package again") from error
    if not isinstance(data, dict):
        raise IntegrityError(f"{name} is not a JSON object", "", "copy the package again")
    return data


def parse_manifest(raw: bytes) -> Manifest:
    data = parse_document(raw, MANIFEST)
    schema = str(data.get("schema", ""))
    family, _, major = schema.partition("/")
    if family != "edgekit.package":
        raise IntegrityError("manifest.json is not an edgekit manifest", f"its schema is {schema!r}")
    if schema != SCHEMA:
        raise IntegrityError(
            f"This package has format version {major[:20]}, and this edgekit reads version 1", "", install(upgrade=True)
        )
    try:
        manifest = from_json(Manifest, data, {ModelSpec: read_spec})
        _check_origin(manifest)
        _check_libraries(manifest.engine.libraries)
    except ValueError as error:
        raise IntegrityError(f"manifest.json is malformed: {error}", "", "convert again") from error
    if raw != canonical(data):
        raise IntegrityError(
            "manifest.json is not in canonical form",
            "it was written or changed by something else than edgekit",
            "copy the package again, or convert again",
        )
    if len(manifest.files) > MAX_FILES:
        raise IntegrityError(
            f"manifest.json lists {len(manifest.files)} files",
            f"no package has more than {MAX_FILES}",
            "do not use this package: it was not written by edgekit",
        )
    check_title(manifest.name)
    for name in manifest.files:
        check_name(name)
    engine = manifest.engine
    contents.check_names(manifest.files, engine.name, engine.artifacts, manifest.model.files)
    if not manifest.engine.artifacts <= manifest.files.keys():
        raise IntegrityError("manifest.json names an artefact that it does not list")
    if engine.chips and engine.artifact not in engine.chips.values():
        raise IntegrityError("manifest.json names an artefact that is none of its chips'")
    for name in manifest.model.files:
        if name not in manifest.files:
            raise IntegrityError(f"manifest.json wants {name}, which it does not list")
    return manifest


def _check_origin(manifest: Manifest) -> None:
    """That what is told of the source and the tools is text and numbers where verbs show them. Raises
    ValueError."""
    source, tools = manifest.source, manifest.toolchain
    for key in ("name", "kind", "sha256", "licence", "layout"):
        if not isinstance(source.get(key, ""), str):
            raise ValueError(f"source.{key} is no text")
    for key in ("bytes", "parameters", "flops"):
        value = source.get(key)
        if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise ValueError(f"source.{key} is no number")
    if not isinstance(tools.get("backend", ""), str) or not isinstance(tools.get("settings", {}), dict):
        raise ValueError("toolchain says its backend and settings in another way")
    versions = tools.get("versions", {})
    if not isinstance(versions, dict) or not all(isinstance(v, str) for v in versions.values()):
        raise ValueError("toolchain.versions are no texts")


def _check_libraries(libraries: dict[str, str]) -> None:
    """Messages show these names, next to a command to copy: they must be names. Raises ValueError."""
    for name, versions in libraries.items():
        if not _DISTRIBUTION.fullmatch(name) or not _RANGE.fullmatch(versions):
            raise ValueError(f"engine.libraries has {name!r:.80} in {versions!r:.80}")


def check_title(name: str) -> None:
    """A package's name becomes a folder's. Raises IntegrityError for one that would lie elsewhere, or that
    programs take for their own: hidden, or an option."""
    odd = not name.isprintable() or any(c in '\\/:*?"<>|' for c in name) or name != name.strip(" .")
    if odd or not 0 < len(name.encode()) <= 200 or name[0] in ".-~":
        raise IntegrityError(
            f"The manifest calls the package {name!r:.120}",
            "a package's name is that of a folder",
            "do not use this package: it was not written by edgekit",
        )


def title_of(name: str) -> str:
    """A package's name made of a source's: what `check_title` takes."""
    title = "".join(c if c.isprintable() and c not in '\\/:*?"<>|' else "-" for c in name)
    return title.encode()[:120].decode("utf-8", "ignore").lstrip(".-~ ").rstrip(" .") or "model"


def check_name(name: str) -> None:
    path = PurePosixPath(name)
    bad = (
        path.is_absolute()
        or any(p.startswith((".", "~", "-")) for p in path.parts)
        or any(c in '\\:*?"<>|' or c < " " for c in name)
    )
    if bad or len(name) > 200 or len(path.parts) > 8 or name != path.as_posix() or name in (".", "", MANIFEST, RECEIPT):
        raise IntegrityError(
            f"The manifest lists {name!r}",
            "paths in a package are relative and stay inside it",
            "do not use this package: it was not written by edgekit",
        )
