"""onnxruntime-web's files: fetched once, by an explicit verb, and only as they were when this version was tried."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path

from edgekit import progress, settings
from edgekit.errors import IntegrityError, MissingError, RemoteError, guard

VERSION = "1.30.0"  # the newest of the registry; packages are judged with onnxruntime 1.32
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",  # WebNN as well
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
_MOST = 2**26  # bytes of the archive, and of each file in it
_PATIENCE = 600.0  # seconds for all of it


def folder() -> Path:
    """Where the files lie, once they do."""
    return settings.data_folder() / "onnxruntime-web" / VERSION


def installed() -> bool:
    return all((folder() / name).is_file() for name in FILES)


def files() -> Path:
    """The folder with onnxruntime-web's files. Raises MissingError."""
    if not installed():
        raise MissingError(
            f"onnxruntime-web {VERSION} is not here", "the browser runs packages with it", "edgekit devices setup web"
        )
    return folder()


def set_up() -> Path:
    """Fetches the files, unless they are here; the folder that has them.

    Raises RemoteError where they cannot be fetched, and IntegrityError for others than those that were tried.
    """
    place = folder()
    if installed():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{VERSION}-", dir=place.parent) as temporary:
        archive, ready = Path(temporary) / "package.tgz", Path(temporary) / "files"
        with guard(RemoteError, f"onnxruntime-web {VERSION} cannot be fetched", f"see whether {URL} can be reached"):
            _fetch(archive)
        with archive.open("rb") as file:
            digest = hashlib.file_digest(file, "sha512").digest()
        if base64.b64encode(digest).decode("ascii") != SHA512:
            raise IntegrityError(
                f"onnxruntime-web {VERSION} is not what it was", "its SHA-512 is another", "try another network"
            )
        ready.mkdir()
        with guard(IntegrityError, f"onnxruntime-web {VERSION} cannot be unpacked"):
            _extract(archive, ready)
        if place.exists():  # by half, or by another process just now
            shutil.rmtree(place)
        os.replace(ready, place)
    return place


def _fetch(archive: Path) -> None:
    begun, done = time.monotonic(), 0
    with urllib.request.urlopen(URL, timeout=30) as answer, archive.open("wb") as file:
        total = int(answer.headers.get("content-length") or 0)
        while part := answer.read(2**20):
            done += len(part)
            if done > _MOST:
                raise ValueError(f"it is larger than {_MOST} bytes")
            if time.monotonic() - begun > _PATIENCE:
                raise ValueError(f"it takes longer than {_PATIENCE:g} seconds")
            file.write(part)
            progress.report("fetching onnxruntime-web", done, max(total, done))


def _extract(archive: Path, place: Path) -> None:
    """Only the files that are named above, by those names: what else the archive holds is not looked at."""
    with tarfile.open(archive, "r:gz") as tar:
        for name in FILES:
            member = tar.getmember(f"package/dist/{name}")
            content = tar.extractfile(member) if member.isreg() and member.size <= _MOST else None
            if content is None:
                raise ValueError(f"{name} is no file, or too large")
            with (place / name).open("wb") as file:
                shutil.copyfileobj(content, file)
